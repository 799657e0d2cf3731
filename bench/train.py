#!/usr/bin/env python3
"""Produces the load of a sidecar for profile-guided optimization (release/build), with a binary that counts.

The compiler optimizes what never runs here for size instead of speed. The load therefore covers each protocol, TLS on both sides,
and small and large bodies. A failed request ends it, because errors would otherwise count as normal work.
"""

import argparse

from rig import load, origin
from rig.process import Rig
from rig.proxies import Proxies

# Path, connections, bytes of the request body.
WORKS = [
    ("1k", 32, 0),
    ("64k", 32, 0),
    ("1m", 32, 0),
    ("1k", 32, 4 << 10),
    ("take/1k", 8, 1 << 20),
    ("1k", 512, 0),
    ("16k", 2, 0),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("binary", help="built with counters, which each process writes when it ends")
    parser.add_argument("--start-counts", metavar="FILE", help="where the process that only starts writes its counts")
    parser.add_argument("--seconds", type=int, default=3, help="duration of each work")
    options = parser.parse_args()
    with Rig() as rig:
        proxies = Proxies(rig, origin.start(rig), options.binary)
        if options.start_counts:
            starts(rig, proxies, options.start_counts)
        for http in ("1", "2"):
            through(rig, proxies.start("alone", proxies.with_stored_grant(http=http)), options.seconds)
        # The load tool speaks neither TLS nor HTTP/2. A second process of the same binary does.
        server = proxies.start("server", proxies.ours(extra=serves_tls(rig)))
        for http in ("1", "2"):
            setup = proxies.ours(http=http, upstream=server.port)
            # Without its own name, the request would be detected as a loop.
            setup.environment["BEARER_PROXY_VIA"] = "client"
            through(rig, proxies.start("client", setup), options.seconds)
        ended(rig, server)


def starts(rig, proxies, counts):
    """The work of a process that then idles: a start with a stored grant, and one request."""
    setup = proxies.with_stored_grant()
    setup.environment["LLVM_PROFILE_FILE"] = counts
    running = proxies.start("idle", setup)
    send(rig, running, "1k", 1, 1)
    ended(rig, running)


def through(rig, running, seconds):
    for path, connections, post in WORKS:
        send(rig, running, path, connections, seconds, post)
    ended(rig, running)


def send(rig, running, path, connections, seconds, post=0):
    done = load.wrk(rig, running.port, path, connections, seconds, post)
    if done.failed:
        raise SystemExit(f"{running.name}: {done.failed} of {done.requests} requests for {path} failed: {rig.tail()}")


def ended(rig, running):
    """Ends a process. Only a clean end writes the counts; without them, hot code would seem never to run."""
    rig.stop(running.process)
    if running.process.popen.returncode != 0:
        raise SystemExit(f"{running.name} ended with {running.process.popen.returncode}: {rig.tail()}")


def serves_tls(rig):
    """Uses the certificate of the origin, which is valid for localhost."""
    return f'[tls]\ncert_file = "{rig.folder}/origin.pem"\nkey_file = "{rig.folder}/origin.key"\n'


if __name__ == "__main__":
    main()
