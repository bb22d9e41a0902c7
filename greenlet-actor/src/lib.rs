//! Erlang-style actors on greenlets: receive, links, exit signals and supervisors.
