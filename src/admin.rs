//! Probes, metrics, status.
