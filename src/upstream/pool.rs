//! The pool of connections to the one upstream, a worker each.
