"""Reactive parts on top of the core: hot sources, streams, iteration, signals. No sockets."""
