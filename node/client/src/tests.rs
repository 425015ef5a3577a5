//! Tests against a server that answers exactly what a test tells it to.
