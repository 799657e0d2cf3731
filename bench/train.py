#!/usr/bin/env python3
"""The load by which a release is optimized (release/build): what a sidecar does all day, through a binary that counts.

What never runs here is compiled to be small instead of fast. So each protocol, TLS on both sides, and small and large bodies have
their turn; and a failed request ends it, since errors would be taken for the day's work.
"""

import argparse

from rig import load, origin
from rig.process import Rig
from rig.proxies import Proxies

# Path, connections, bytes of a request's body.
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
    parser.add_argument("binary", help="built with counters; each of its processes writes them when it ends")
    parser.add_argument("--start-counts", metavar="FILE", help="where the process that only starts writes its own")
    parser.add_argument("--seconds", type=int, default=3, help="of each work")
    options = parser.parse_args()
    with Rig() as rig:
        proxies = Proxies(rig, origin.start(rig), options.binary)
        if options.start_counts:
            starts(rig, proxies, options.start_counts)
        for http in ("1", "2"):
            through(rig, proxies.start("alone", proxies.with_stored_grant(http=http)), options.seconds)
        # The load tool speaks neither TLS nor HTTP/2: another of the same binary does that in its place.
        server = proxies.start("server", proxies.ours(extra=serves_tls(rig)))
        for http in ("1", "2"):
            setup = proxies.ours(http=http, upstream=server.port)
            # A request that comes to its own name again would be a loop.
            setup.environment["BEARER_PROXY_VIA"] = "client"
            through(rig, proxies.start("client", setup), options.seconds)
        ended(rig, server)


def starts(rig, proxies, counts):
    """What every process does that then idles: a start with a stored grant, and a first request."""
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
    """Counts are written at a clean end alone. Without them what is hot would pass for what never runs."""
    rig.stop(running.process)
    if running.process.popen.returncode != 0:
        raise SystemExit(f"{running.name} ended with {running.process.popen.returncode}: {rig.tail()}")


def serves_tls(rig):
    """With the origin's certificate, which is for localhost."""
    return f'[tls]\ncert_file = "{rig.folder}/origin.pem"\nkey_file = "{rig.folder}/origin.key"\n'


if __name__ == "__main__":
    main()
