"""What TensorBoard shows of a run beside its curves: the config, images, and the settings with what came of them."""

from typing import Any

from recipe import stored_config
from recipe.config import Config
from recipe.logs import lettering, pictures
from recipe.logs.journal import Journal
from recipe.logs.run_view import RunView
from recipe.schema import leaves
from recipe.stored_config import text
from recipe.training.evaluate import Evaluation


def show_beginning(run: RunView, journal: Journal) -> None:
    """Show the config, and the first images as the network sees them; once in a run, by rank 0."""
    if not run.ranks.first or not run.at_its_beginning:
        return
    journal.text("config", f"```yaml\n{stored_config.to_yaml(run.config)}\n```")
    if run.config.log.images:
        if (line := lettering.missing(run.train_set.classes)) is not None:
            journal.say(line)
        batch = pictures.first_training_images(run.training, run.train_set, run.order)
        journal.picture("train/images", 0, batch)
        journal.picture("val/images", 0, pictures.first_validation_images(run.config, run.val_set))


def show_end(run: RunView, journal: Journal, final: Evaluation) -> None:
    """Show what was set and what came of it, and the best and the worst predictions."""
    figures = {"val/final_acc1": final.acc1, "val/final_loss": final.loss}
    journal.hyperparameters(_settings(run), figures, run.steps)
    if run.config.log.images:
        for name, worst in (("val/worst_predictions", True), ("val/best_predictions", False)):
            journal.picture(name, run.steps, pictures.predictions(run.config, run.val_set, final, worst))


def _settings(run: RunView) -> dict[str, Any]:
    """The recipe, the seed, and every key that is not at the schema's value."""
    usual = {key: value for key, value, _ in leaves(Config())}
    settings: dict[str, Any] = {"recipe": run.plan.rung.name, "seed": run.config.seed}
    for key, value, about in leaves(run.config):
        if about["affects"] != "nothing" and value != usual[key]:
            settings[key] = value if type(value) in (int, float) else text(value)
    return settings
