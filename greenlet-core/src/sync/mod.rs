//! Locks: gevent's semaphores, and std's locks in cooperative form.
