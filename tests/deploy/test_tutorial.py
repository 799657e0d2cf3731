"""A reader follows docs/tutorials/kubernetes.md word for word, with a real API server.

No node runs here. The test does what the kubelet does for the sidecar. `docker` does nothing, and `kubectl exec` runs the program
itself. The server may be older than native sidecars, so the Deployment does not go there; test_manifests.py checks its schema.
`.ci/deploy` starts this in namespaces of its own if `KUBE_APISERVER` names a binary.
"""

import os
import re
import shutil
import subprocess
import urllib.parse

import yaml

from cluster import Sidecar
from render import ROOT, documents
from replicas import IS_RUN, Replicas

PAGE = ROOT / "docs/tutorials/kubernetes.md"
APPLICATION = ROOT / "deploy/kubernetes/example/app.yaml"
# Commands of the page that need what is not here.
SHELL = r"""
set -euo pipefail
docker() { :; }
kubectl() {
  case "$1 ${2-} ${3-}" in
    "exec "*) while [ "$1" != -- ]; do shift; done; shift 2; exec_in_sidecar "$@" ;;
    "apply -k .") "$KUSTOMIZE" build . >built.yaml ;;
    *) command kubectl --kubeconfig="$KUBECONFIG" "$@" ;;
  esac
}
exec_in_sidecar() { printf '%s\n' "$*" >"$EXEC"; }
"""


@IS_RUN
class TheTutorial(Replicas):
    def setUp(self):
        super().setUp()
        self.app = self.folder / "app"
        self.app.mkdir()
        shutil.copy(APPLICATION, self.app / "app.yaml")

    def follow(self, title, folder):
        """Runs the shell blocks of a section. Returns the commands that `kubectl exec` would run."""
        section = re.split(r"^## ", PAGE.read_text(), flags=re.M)
        text = next(part for part in section if re.match(rf"\d+\. {title}", part))
        commands = []
        for block in re.findall(r"^```sh\n(.*?)^```", text, flags=re.S | re.M):
            block = block.replace("YOUR-CLIENT-ID", "an-id")
            for command in re.split(r"\n(?=kubectl exec)", block.strip()):
                note = self.folder / "exec"
                note.unlink(missing_ok=True)
                done = subprocess.run(
                    ["bash", "-c", SHELL + command], cwd=folder, capture_output=True, text=True,
                    env=os.environ | {"KUBECONFIG": str(self.cluster.kubeconfig), "EXEC": str(note)},
                )
                self.assertEqual(done.returncode, 0, f"{command}\n{done.stdout}{done.stderr}")
                if note.exists():
                    commands.append(note.read_text().split())
        return commands

    def test_ends_in_a_200(self):
        (self.checkout / "client-secret").write_text("a-secret")
        for title in ("Push the image", "Create the Secret", "Create the empty objects"):
            self.assertEqual(self.follow(title, self.checkout), [])
        self.assertEqual(self.cluster.get("secret", "bearer-proxy").get("data"), None)
        block = re.search(r"^```yaml\n(# kustomization.yaml.*?)^```", PAGE.read_text(), flags=re.S | re.M)
        (self.app / "kustomization.yaml").write_text(block[1])
        self.assertEqual(self.follow("Add the sidecar", self.app), [])

        built = documents((self.app / "built.yaml").read_text())
        deployment, = [document for document in built if document["kind"] == "Deployment"]
        built.remove(deployment)
        self.cluster.run("apply", "-f", "-", input=yaml.safe_dump_all(built))

        # The application gets 503 until a grant is stored.
        sidecar = Sidecar(self.cluster, deployment)
        self.serve(sidecar)
        self.serve(sidecar, 1)
        self.eventually(0, 503)
        self.eventually(1, 503)

        token = self.app / "refresh-token.txt"
        token.write_text(self.server.refresh_token())
        login, imported = self.follow("Log in, once", self.app)
        self.assertEqual(login, ["login", "--paste"])
        self.log_in(sidecar, login)
        self.eventually(0, 200)
        self.eventually(1, 200)
        done = self.in_sidecar(sidecar, imported, input=token.read_text())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.eventually(0, 200)

        for command in self.follow("Check it", self.app):
            done = self.in_sidecar(sidecar, command)
            self.assertEqual(done.returncode, 0, f"{command}: {done.stdout}{done.stderr}")
        self.assertEqual((len(self.server.spent), self.server.presented_again), (1, 0))
        stored = str(self.cluster.get("secret", "bearer-proxy"))
        self.assertNotIn("refresh_token", stored)

    def log_in(self, sidecar, command):
        """A person opens the printed URL, and pastes what the browser was sent to."""
        process = subprocess.Popen(
            [self.program, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **sidecar.options(),
        )
        printed = ""
        while not (found := re.search(r"http\S+/oauth/authorize\S+", printed)):
            line = process.stdout.readline()
            self.assertTrue(line, printed)
            printed += line
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(found[0]).query))
        answer = {"code": self.server.code(asked["code_challenge"]), "state": asked["state"]}
        rest, _ = process.communicate(f"{asked['redirect_uri']}?{urllib.parse.urlencode(answer)}\n", timeout=60)
        self.assertEqual(process.returncode, 0, printed + rest)
