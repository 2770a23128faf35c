"""The asyncio shell: sockets, timers and tasks, steered by the core."""
