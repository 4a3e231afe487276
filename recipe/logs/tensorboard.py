"""What TensorBoard shows of a run beside its curves: the config, images, and the settings with what came of them."""

from typing import TYPE_CHECKING, Any

from recipe import lettering, stored_config
from recipe.config import Config, leaves
from recipe.logs import pictures
from recipe.stored_config import text
from recipe.training.loop import Evaluation

if TYPE_CHECKING:
    from recipe.run.run import Run


def show_beginning(run: "Run") -> None:
    """The config, and the first images as the network sees them. Once, from rank 0."""
    if not run.ranks.first or run.progress.steps_done(run.order.steps):
        return
    run.journal.text("config", f"```yaml\n{stored_config.to_yaml(run.config)}\n```")
    if run.config.log.images:
        if (line := lettering.missing(run.train_set.classes)) is not None:
            run.journal.say(line)
        batch = pictures.first_training_images(run.training, run.train_set, run.order)
        run.journal.picture("train/images", 0, batch)
        run.journal.picture("val/images", 0, pictures.first_validation_images(run.config, run.val_set))


def show_end(run: "Run", final: Evaluation) -> None:
    """What was set and what came of it, and the best and the worst predictions."""
    figures = {"val/final_acc1": final.acc1, "val/final_loss": final.loss}
    run.journal.hyperparameters(_settings(run), figures, run.steps)
    if run.config.log.images:
        for name, worst in (("worst", True), ("best", False)):
            picture = pictures.predictions(run.config, run.val_set, final, worst)
            run.journal.picture(f"val/{name}_predictions", run.steps, picture)


def _settings(run: "Run") -> dict[str, Any]:
    """The recipe, the seed, and every key that is not at the schema's value."""
    usual = {key: value for key, value, _ in leaves(Config())}
    settings: dict[str, Any] = {"recipe": run.plan.rung.name, "seed": run.config.seed}
    for key, value, about in leaves(run.config):
        if about["affects"] != "nothing" and value != usual[key]:
            settings[key] = value if type(value) in (int, float) else text(value)
    return settings
