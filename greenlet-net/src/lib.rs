//! Cooperative sockets for greenlets: std's shapes, one greenlet suspended per blocking call.
