//! Groups and pools: gevent's `Group`, `Pool` and `ThreadPool`.
