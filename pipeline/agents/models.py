"""`model.updates`: what subjects' rewards come to, added once to the statistics of the model that they are about."""

from __future__ import annotations

from pipeline.agents._learning import learn
from pipeline.core.keys import is_model
from pipeline.core.model.records import ModelUpdate
from pipeline.core.subject import ModelState, Subject
from pipeline.flow import Context, DeadLetter, Outcome, Reason


def handle(update: ModelUpdate, state: Subject | None, ctx: Context) -> Outcome:
    """Add the observations; cut a snapshot where so many came that it is due."""
    if not is_model(update.model_key) or (state is not None and not isinstance(state, ModelState)):
        return DeadLetter(Reason.INVALID, "the key is no model's: send tenant/%model")
    return learn(update, state, ctx)
