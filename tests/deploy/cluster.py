"""A real API server on a real etcd, and what a kubelet does for one container.

`KUBE_APISERVER` names the binary. Everything listens on the usual ports: run this in a network namespace of its own.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

ADMIN = "an-administrator"
SERVER = "https://127.0.0.1:6443"


class Cluster:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.processes = []
        folder = self.folder
        subprocess.run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"], check=True, capture_output=True)
        (folder / "tokens.csv").write_text(f'{ADMIN},admin,1,"system:masters"\n')
        self.start("etcd", "--data-dir", folder / "etcd", "--log-level", "error")
        self.start(
            os.environ["KUBE_APISERVER"],
            "--etcd-servers=http://127.0.0.1:2379", f"--cert-dir={folder}", "--secure-port=6443", "--bind-address=127.0.0.1",
            f"--token-auth-file={folder}/tokens.csv", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={folder}/sa.key", f"--service-account-key-file={folder}/sa.key",
            # Without a route, the server finds no address of its own. Nobody uses this one.
            "--advertise-address=192.0.2.1",
            "--authorization-mode=RBAC", "--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount",
        )
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": SERVER, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "admin", "user": {"token": ADMIN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin", "namespace": "default"}}],
        }))
        end = time.monotonic() + 60
        while self.run("get", "--raw", "/readyz", check=False).returncode != 0:
            assert time.monotonic() < end, f"the API server is not ready: {self.run('get', '--raw', '/readyz', check=False).stderr}{self.logs()}"
            time.sleep(0.2)

    def start(self, *command, **options):
        with open(self.folder / f"{Path(command[0]).name}.log", "ab") as log:
            process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, **options)
        self.processes.append(process)
        return process

    def logs(self):
        """The end of what each process printed."""
        return "".join(f"\n{log.name}: {log.read_text()[-1000:]}" for log in self.folder.glob("*.log"))

    def run(self, *arguments, check=True, **options):
        command = ["kubectl", f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(command, check=check, capture_output=True, text=True, **options)

    def get(self, kind, name):
        return json.loads(self.run("get", kind, name, "-o", "json").stdout)

    def stop(self):
        for process in reversed(self.processes):
            process.kill()
            process.wait()


class Sidecar:
    """The sidecar of a Deployment, as the kubelet prepares it: variables, and files at the places where they are mounted."""

    def __init__(self, cluster, deployment):
        pod = deployment["spec"]["template"]["spec"]
        container = next(c for c in pod["initContainers"] if c["name"] == "bearer-proxy")
        self.variables = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
        for source in container.get("envFrom", []):
            found = cluster.run("get", "configmap", source["configMapRef"]["name"], "-o", "json", check=False)
            assert found.returncode == 0 or source["configMapRef"]["optional"], found.stderr
            self.variables |= json.loads(found.stdout)["data"] if found.returncode == 0 else {}
        for entry in container["env"]:
            reference = entry.get("valueFrom", {}).get("secretKeyRef")
            value = secret(cluster, reference["name"])[reference["key"]].decode() if reference else entry["value"]
            self.variables[entry["name"]] = value
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for mount in container["volumeMounts"]:
            folder = Path(mount["mountPath"])
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in files(cluster, pod, volumes[mount["name"]]).items():
                path = folder / name
                path.write_bytes(content)
                path.chmod(0o440)
                # The files of a Secret belong to root and the pod's fsGroup.
                shutil.chown(path, 0, pod.get("securityContext", {}).get("fsGroup", 0))
        self.user = container["securityContext"]["runAsUser"]
        self.group = container["securityContext"]["runAsGroup"]

    def options(self):
        return {"env": self.variables, "user": self.user, "group": self.group, "extra_groups": []}


def secret(cluster, name):
    return {key: base64.b64decode(value) for key, value in cluster.get("secret", name).get("data", {}).items()}


def files(cluster, pod, volume):
    if "secret" in volume:
        return secret(cluster, volume["secret"]["secretName"])
    found = {}
    for source in volume["projected"]["sources"]:
        if "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": wanted["expirationSeconds"]}}
            path = f"/api/v1/namespaces/default/serviceaccounts/{pod['serviceAccountName']}/token"
            made = cluster.run("create", "--raw", path, "-f", "-", input=json.dumps(request))
            found[wanted["path"]] = json.loads(made.stdout)["status"]["token"].encode()
        elif "configMap" in source:
            # A controller that does not run here publishes the authority of the API server under this name.
            assert source["configMap"]["name"] == "kube-root-ca.crt"
            found["ca.crt"] = (cluster.folder / "apiserver.crt").read_bytes()
        else:
            found[source["downwardAPI"]["items"][0]["path"]] = b"default"
    return found
