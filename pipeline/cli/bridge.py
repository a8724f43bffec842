"""`nextbest bridge`: one bridge in the foreground."""

from __future__ import annotations

import typer

from pipeline.cli.options import Bootstrap, HttpHost, HttpPort, log_to_standard_error, private, settings_with


def bridge(bootstrap: Bootstrap = None, http_host: HttpHost = None, http_port: HttpPort = None) -> None:
    """Run one bridge: the HTTP endpoints."""
    settings = settings_with(bootstrap=bootstrap, http_host=http_host, http_port=http_port)
    private(settings)
    log_to_standard_error(settings)
    from pipeline.bridge import server

    raise typer.Exit(server.run(settings))
