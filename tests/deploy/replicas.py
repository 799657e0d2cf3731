"""Replicas of the sidecar on a real API server, with an authorization server. The replicas share one network namespace."""

import os
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from authorization_server import AuthorizationServer
from cluster import Cluster
from render import ROOT

IS_RUN = unittest.skipUnless(os.environ.get("KUBE_APISERVER"), "not run: KUBE_APISERVER names no kube-apiserver")


class Replicas(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.folder.chmod(0o755)
        state = self.folder / "cluster"
        state.mkdir()
        self.cluster = Cluster(state)
        self.addCleanup(self.cluster.stop)
        self.server = AuthorizationServer()
        self.checkout = self.folder / "bearer-proxy"
        shutil.copytree(ROOT / "deploy", self.checkout / "deploy")
        self.program = shutil.copy(os.environ["PROGRAM"], self.folder / "program")
        # Where Passolution is in this test. Everything else is as in the manifests.
        settings = {
            "UPSTREAM__URL": self.server.url,
            "OAUTH__TOKEN_URL": f"{self.server.url}/oauth/token",
            "OAUTH__AUTHORIZE_URL": f"{self.server.url}/oauth/authorize",
        }
        literals = [f"--from-literal=BEARER_PROXY_{name}={value}" for name, value in settings.items()]
        self.cluster.run("create", "configmap", "bearer-proxy-settings", *literals)

    def in_sidecar(self, sidecar, arguments, **options):
        return subprocess.run([self.program, *arguments], capture_output=True, text=True, timeout=120, **sidecar.options(), **options)

    def serve(self, sidecar, number=0):
        """Starts a replica. The first one has the usual ports."""
        options = sidecar.options()
        ports = {"LISTEN": 8080, "ADMIN__LISTEN": 9901, "PROBES__LISTEN": 9902} if number else {}
        own = {f"BEARER_PROXY_{name}": f"127.0.0.1:{port + 100 * number}" for name, port in ports.items()}
        options["env"] = options["env"] | own
        return self.cluster.start(self.program, "serve", **options)

    def eventually(self, number, status):
        end = time.monotonic() + 30
        while (seen := ask(number)) != status:
            self.assertLess(time.monotonic(), end, f"{seen}, not {status}: {self.cluster.logs()}")
            time.sleep(0.05)


def ask(number):
    """The status of a request through a replica, or `None`."""
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{8080 + 100 * number}/api/v2/countries", timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


class Load:
    """An application that sends one request after another through a replica."""

    def __init__(self, number):
        self.number, self.statuses, self.is_over = number, [], threading.Event()
        self.grown = threading.Condition()
        self.thread = threading.Thread(target=self.send, daemon=True)
        self.thread.start()

    def send(self):
        while not self.is_over.is_set():
            status = ask(self.number)
            with self.grown:
                self.statuses.append(status)
                self.grown.notify_all()

    def more(self, count):
        """Waits for this many more responses."""
        with self.grown:
            wanted = len(self.statuses) + count
            assert self.grown.wait_for(lambda: len(self.statuses) >= wanted, timeout=60), self.statuses[-3:]

    def end(self):
        self.is_over.set()
        self.thread.join()
        return set(self.statuses)
