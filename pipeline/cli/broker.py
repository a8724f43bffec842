"""`nextbest broker`: the embedded Kafka broker in the foreground."""

from __future__ import annotations

import time

import typer

from pipeline.cli.options import DataDir, KafkaPort, private, settings_with
from pipeline.cli.stopping import until_told_to_stop


def broker(data_dir: DataDir = None, kafka_port: KafkaPort = 9092) -> None:
    """Run the embedded Kafka broker alone.

    For development: it listens on this machine only, without passwords. What it keeps survives a restart.
    """
    settings = settings_with(data_dir=data_dir)
    private(settings)
    from pipeline.local.broker import EmbeddedBroker
    from pipeline.runtime import logs
    from pipeline.runtime.errors import StartupError

    embedded = EmbeddedBroker(settings.data_dir, kafka_port, say=lambda line: typer.echo(line, err=True))
    with until_told_to_stop():
        try:
            embedded.start()
            typer.echo(f"Kafka is ready at {embedded.bootstrap}; log: {embedded.log_path}")
            while (code := embedded.poll()) is None:
                time.sleep(0.2)
            raise StartupError(f"the broker ended with status {code}; {logs.last_words(embedded.log_path)}")
        finally:
            embedded.stop()
