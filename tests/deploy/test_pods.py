"""What the end of a pod does to requests and grant: the processes get the signals that the kubelet sends.

docs/guides/kubernetes.md has the table.
"""

import signal

from cluster import Sidecar
from generate import MANIFESTS
from render import documents
from replicas import IS_RUN, Load, Replicas, ask


@IS_RUN
class ThePods(Replicas):
    def setUp(self):
        super().setUp()
        keys = "A" * 43 + "="
        literals = [f"--from-literal={name}={value}" for name, value in (("client-id", "an-id"), ("client-secret", "a-secret"), ("store-keys", keys))]
        self.cluster.run("create", "secret", "generic", "bearer-proxy-client", *literals)
        self.cluster.run("create", "-f", str(MANIFESTS / "store.yaml"))
        self.cluster.run("apply", "-f", str(MANIFESTS / "sidecar/rbac.yaml"))
        deployment, = documents((MANIFESTS / "sidecar/sidecar.yaml").read_text())
        self.sidecar = Sidecar(self.cluster, deployment)
        self.old, self.other = self.serve(self.sidecar), self.serve(self.sidecar, 1)
        done = self.in_sidecar(self.sidecar, ["import"], input=self.server.refresh_token())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.eventually(0, 200)
        self.eventually(1, 200)
        self.spent = len(self.server.spent)

    def refreshes(self):
        self.assertEqual(self.server.presented_again, 0)
        return len(self.server.spent) - self.spent

    def test_a_rolling_update_fails_no_request_and_causes_no_refresh(self):
        load = Load(0)
        self.serve(self.sidecar, 2)
        self.eventually(2, 200)
        load.more(10)
        # The application has ended, or is about to: its last calls come after the sidecar's SIGTERM.
        self.old.send_signal(signal.SIGTERM)
        load.more(3)
        self.assertEqual(load.end(), {200})
        self.assertEqual(self.old.wait(timeout=60), 0)
        self.assertEqual([ask(1), ask(2)], [200, 200])
        self.assertEqual(self.refreshes(), 0)

    def test_a_hard_eviction_costs_no_refresh(self):
        load = Load(0)
        load.more(10)
        self.old.send_signal(signal.SIGTERM)
        load.more(3)
        self.assertEqual(load.end(), {200})
        self.old.kill()
        self.old.wait()
        self.assertEqual(ask(1), 200)
        # The replacement reads the grant.
        self.serve(self.sidecar, 2)
        self.eventually(2, 200)
        self.assertEqual(self.refreshes(), 0)

    def test_without_the_api_server_requests_continue_and_no_refresh_takes_place(self):
        load = Load(0)
        server = self.cluster.processes[1]
        server.send_signal(signal.SIGSTOP)
        # Within a second of the first refresh, the command gets its outcome.
        while (refused := self.in_sidecar(self.sidecar, ["refresh"])).returncode == 0:
            self.assertEqual(self.refreshes(), 0)
        self.assertEqual(refused.returncode, 1, refused.stderr)
        load.more(20)
        self.assertEqual(self.refreshes(), 0)
        server.send_signal(signal.SIGCONT)
        while self.in_sidecar(self.sidecar, ["refresh"]).returncode != 0:
            self.assertEqual(self.refreshes(), 0)
        self.assertEqual(load.end(), {200})
        self.assertEqual(self.refreshes(), 1)
        # The peer learns of it through the watch.
        self.eventually(1, 200)
