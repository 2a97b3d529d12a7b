//! The exporter as its users meet it: over real sockets, and as a process.
