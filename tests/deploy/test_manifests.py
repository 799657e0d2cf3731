"""The manifests, the component, and what the documents show. `KUSTOMIZE` names the program."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import yaml

import rules
from checks import check_gateway, check_schema, check_sidecar
from generate import MANIFESTS, generated
from render import ROOT, documents, rendered

PAGES = [ROOT / "docs/tutorials/kubernetes.md", ROOT / "docs/guides/kubernetes.md", ROOT / "docs/guides/kubernetes-gateway.md"]
APPLICATION = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}, annotations: {prometheus.io/port: "3000"}}
    spec:
      serviceAccountName: app
      terminationGracePeriodSeconds: 30
      securityContext: {fsGroup: 1000}
      initContainers: [{name: migrate, image: app:1}]
      containers: [{name: app, image: app:1, volumeMounts: [{name: data, mountPath: /data}]}]
      volumes: [{name: data, emptyDir: {}}]
"""


def kustomize(folder):
    built = subprocess.run([os.environ["KUSTOMIZE"], "build", str(folder)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return documents(built.stdout)


class TheManifests(unittest.TestCase):
    def test_are_generated_from_the_chart(self):
        for path, text in generated().items():
            self.assertEqual(path.read_text(), text, f"{path.relative_to(ROOT)} differs: run .ci/deploy --write")

    def test_fit_each_version_of_kubernetes(self):
        for path in MANIFESTS.glob("*.yaml"):
            with self.subTest(path.name):
                check_schema(self, documents(path.read_text()))

    def test_of_the_gateway_keep_the_rules(self):
        for name, store in (("gateway", {}), ("gateway-postgres", {"store": {"kind": "postgres"}})):
            with self.subTest(name):
                text = (MANIFESTS / f"{name}.yaml").read_text()
                check_gateway(self, store, documents(text))
                self.assertNotRegex(text, "Helm|helm.sh")

    def test_of_the_example_keep_the_rules(self):
        found = kustomize(MANIFESTS / "example")
        check_schema(self, found)
        check_sidecar(self, found)

    def test_of_the_component_patch_a_stateful_set(self):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(MANIFESTS, folder, dirs_exist_ok=True)
            application = APPLICATION.replace("Deployment", "StatefulSet").replace("spec:\n", "spec:\n  serviceName: app\n", 1)
            Path(folder, "example/app.yaml").write_text(application)
            found = kustomize(Path(folder, "example"))
        check_schema(self, found)
        check_sidecar(self, found)
        self.assertEqual([document["kind"] for document in found][-1], "StatefulSet")

    def test_name_the_objects_of_the_store(self):
        made = {(d["kind"], d["metadata"]["name"]) for d in documents((MANIFESTS / "store.yaml").read_text())}
        self.assertEqual(made, {("Secret", "bearer-proxy"), ("Lease", "bearer-proxy")})


class TheDocuments(unittest.TestCase):
    """Each kustomization and each set of values that a page shows."""

    def blocks(self, first_line):
        for page in PAGES:
            for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), flags=re.S | re.M):
                if block.startswith(first_line):
                    yield page.name, block

    def test_show_kustomizations_that_build(self):
        shown = list(self.blocks("# kustomization.yaml"))
        self.assertGreaterEqual(len(shown), 3)
        for page, block in shown:
            with self.subTest(page), tempfile.TemporaryDirectory() as folder:
                own = Path(folder, "app")
                own.mkdir()
                shutil.copytree(MANIFESTS, Path(folder, "bearer-proxy/deploy/kubernetes"))
                (own / "kustomization.yaml").write_text(block)
                (own / "app.yaml").write_text(APPLICATION)
                found = kustomize(own)
                check_schema(self, found)
                check_sidecar(self, found)
                # What belongs to the application is unchanged.
                (_, pod), = rules.pods(found)
                self.assertEqual(pod["securityContext"], {"fsGroup": 1000})
                self.assertEqual([c["name"] for c in pod["initContainers"]], ["bearer-proxy", "migrate"])
                self.assertEqual(pod["containers"][0]["volumeMounts"][0], {"name": "data", "mountPath": "/data"})
                accounts = {s["name"] for d in found if d["kind"] == "RoleBinding" for s in d["subjects"]}
                self.assertEqual(accounts, {pod["serviceAccountName"]})
                settings = {d["metadata"]["name"] for d in found if d["kind"] == "ConfigMap"}
                named = {source["configMapRef"]["name"] for source in pod["initContainers"][0]["envFrom"]}
                self.assertEqual(named, settings or {"bearer-proxy-settings"})

    def test_show_values_that_render(self):
        shown = list(self.blocks("# values.yaml"))
        self.assertGreaterEqual(len(shown), 2)
        for page, block in shown:
            with self.subTest(page):
                values = yaml.safe_load(block)
                found = rendered(values)
                check_schema(self, found)
                check_gateway(self, values, found)
