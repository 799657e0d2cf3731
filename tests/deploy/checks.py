"""Judges what was rendered: by Kubernetes' schemas, by the rules for each workload, and by the program itself.

`PROGRAM` names bearer-proxy. Without it, no configuration is judged.
"""

import functools
import os
import subprocess
import tempfile
from pathlib import Path

import kubernetes_validate
from kubernetes_validate import utils

import rules

VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
# Kubernetes has no schema for these. The tests check the fields that matter.
CUSTOM = {"PodMonitor", "ExternalSecret"}
# It would read a megabyte for each document and version.
utils.schema_contents = functools.cache(utils.schema_contents)


def check_schema(test, found):
    """Strict: an unknown field is an error."""
    for document in found:
        if document["kind"] in CUSTOM:
            continue
        for version in VERSIONS:
            with test.subTest(document["kind"], version=version):
                kubernetes_validate.validate(document, version, strict=True)


def check_by_program(container):
    """The program accepts the configuration, and warns about nothing."""
    program = os.environ.get("PROGRAM")
    if not program:
        return
    with tempfile.TemporaryDirectory() as folder:
        # What Kubernetes gives each pod.
        Path(folder, "namespace").write_text("default")
        environment = {
            "KUBERNETES_SERVICE_HOST": "10.96.0.1",
            "KUBERNETES_SERVICE_PORT": "443",
            "KUBERNETES_SERVICE_ACCOUNT_DIR": folder,
        }
        for entry in container["env"]:
            value = entry.get("value", "an-id")
            for place in ("/etc/bearer-proxy-tls/", "/etc/bearer-proxy/", "/etc/database/"):
                if value.startswith(place):
                    path = Path(folder, value.removeprefix(place))
                    path.write_text(file_content(path.name))
                    path.chmod(0o600)
                    value = str(path)
            environment[entry["name"]] = value.replace("YOUR-KEYS-SHA-256-DIGEST", "0123456789abcdef" * 4)
        shown = subprocess.run([program, "config"], env=environment, capture_output=True, text=True)
        assert shown.returncode == 0 and not shown.stderr, f"{environment}\n{shown.stderr}"


def file_content(name):
    if "keys" in name:
        return "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    return "postgres://user:password@db.example/grants" if name == "store-url" else "a-secret"


def check_gateway(test, values, found):
    store = values.get("store", {})
    kind = store.get("kind", "kubernetes")
    (name, pod), = rules.pods(found)
    container = rules.proxy(pod)
    rules.only_the_proxy_has_credentials(pod)
    rules.the_memory_limit_follows_the_formula(container)
    rules.the_pod_is_restricted(pod, container)
    test.assertEqual(container["readinessProbe"]["httpGet"], {"path": "/readyz", "port": "probes"})
    test.assertNotIn("restartPolicy", container)
    grant = store.get("name", name)
    roles = rules.the_role_names_two_objects(found, grant)
    if kind == "kubernetes":
        rules.nothing_owns_the_grant(found, grant)
    test.assertEqual(rules.TOKEN in str(pod), kind == "kubernetes")
    test.assertTrue(kind == "kubernetes" or not roles, roles)
    check_by_program(container)


def check_sidecar(test, found):
    for _, pod in rules.pods(found):
        container = pod["initContainers"][0]
        test.assertEqual((container["name"], container["restartPolicy"]), ("bearer-proxy", "Always"))
        test.assertEqual(container, rules.proxy(pod))
        rules.only_the_proxy_has_credentials(pod)
        rules.the_memory_limit_follows_the_formula(container)
        rules.the_pod_is_restricted({"enableServiceLinks": pod["enableServiceLinks"]}, container)
        test.assertIn("startupProbe", container)
        test.assertNotIn("readinessProbe", container)
        test.assertNotIn("LISTEN", rules.variables(container), "a sidecar listens on loopback")
        check_by_program(container)
    rules.the_role_names_two_objects(found, "bearer-proxy")
    rules.nothing_owns_the_grant(found, "bearer-proxy")
