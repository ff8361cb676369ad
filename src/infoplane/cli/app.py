"""The verbs and their options. Nothing heavy is imported before a verb runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="infoplane",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _number(name: str, least: int = 0, most: int | None = None, *, whole: bool = True) -> dict[str, Any]:
    """How an option of a number is read: what is wrong with it is said in our own words, whichever typer it is."""

    def read(text: str) -> float:
        from infoplane.errors import UsageError

        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = None
        if value is None or (whole and (value < least or (most is not None and value > most))):
            span = f", {least:,} or more" if most is None else f" from {least:,} to {most:,}"
            legal = f"a whole number{span}" if whole else "a number"
            raise UsageError(f"{name} cannot be used", received=repr(text), legal=legal)
        return value

    return {"parser": read, "metavar": "<int>" if whole else "<float>"}


Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Seed = Annotated[int | None, typer.Option(help="Decides everything random.", **_number("--seed"))]
Refits = Annotated[int | None, typer.Option(help="Independent fits per layer.", **_number("--refits", 1))]
Workers = Annotated[int | None, typer.Option(help="Worker processes; default: one per core.", **_number("--workers"))]
Scale = Annotated[str | None, typer.Option(help="paper, laptop …; default: laptop where the study has it.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="key=value, e.g. fit.updates=100.")]
Engine = Annotated[str, typer.Option(help="What runs the parts; local: worker processes on this machine.")]
ReadAs = Annotated[
    list[str] | None,
    typer.Option(
        "--read-as",
        help="layer=axes, a letter for each: c channels, h rows, w columns, n tokens (+k: k leading ones); or vector.",
    ),
]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Also write curves and samples for TensorBoard.")]
Model = Annotated[
    str, typer.Argument(help="package.module:name or file.py:name of a model, or of a function that builds one.")
]
Transform = Annotated[
    str | None, typer.Option(help="package.module:name of a function from uint8 images to the model's input.")
]
Options = Annotated[
    list[str] | None, typer.Option(help="What the data's loader takes: --options alpha=white classes=26.")
]
Groups = Annotated[
    str | None,
    typer.Option(
        help="What must not be parted: an array of a .npz, or a regular expression whose (…) in a file's path is the "
        "group's name."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from infoplane import __version__

        print(f"infoplane {__version__}")
        raise typer.Exit


@app.callback()
def everything(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """How much information about the input, and about the label, each layer of a neural network keeps."""


@app.command()
def run(
    study: Annotated[str, typer.Argument(help="Name of a study, or a YAML file.")],
    scale: Scale = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder. Default: runs/STUDY or runs/STUDY-SCALE.")] = None,
    settings: Settings = None,
    device: Device = "auto",
    seed: Seed = None,
    refits: Refits = None,
    workers: Workers = None,
    engine: Engine = "local",
    tensorboard: TensorBoard = False,
    quiet: Quiet = False,
) -> int:
    """Run a study; a second call goes on where the first stopped."""
    from infoplane.cli.run import asked_study
    from infoplane.cli.run import run as command

    spec = asked_study(study, scale, settings or [], seed=seed, refits=refits)
    return command(spec, out, device=device, workers=workers, engine=engine, tensorboard=tensorboard, quiet=quiet)


@app.command()
def studies(
    device: Device = "auto",
    time: Annotated[bool, typer.Option("--time", help="Also say about how long each takes here.")] = False,
) -> int:
    """List the studies: what each reproduces, and its scales."""
    from infoplane.cli.studies import studies as command

    return command(device, time=time)


@app.command()
def plan(
    study: Annotated[str, typer.Argument(help="Name of a study, or a YAML file.")],
    scale: Scale = None,
    settings: Settings = None,
    device: Device = "auto",
    seed: Seed = None,
    refits: Refits = None,
    workers: Workers = None,
    out: Annotated[
        Path | None, typer.Option(help="A run's folder: say what it holds, what would be computed there, and why.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            help="As if the data set had so many images, divided as the study says.",
            **_number("--images", 1, 10**12),
        ),
    ] = None,
    tflops: Annotated[
        float | None,
        typer.Option(
            help="As if each process had a device that trains at so many TFLOP a second.",
            **_number("--tflops", whole=False),
        ),
    ] = None,
) -> int:
    """Say what a study would compute, and what it would cost here, without running it."""
    from infoplane.cli.plan import plan as command
    from infoplane.cli.run import asked_study

    spec = asked_study(study, scale, settings or [], seed=seed, refits=refits)
    return command(spec, study, device=device, workers=workers, images=images, tflops=tflops, out=out)


@app.command()
def bench(
    device: Annotated[str, typer.Option(help="auto (all that there are), cpu or cuda.")] = "auto",
    quick: Annotated[
        bool, typer.Option("--quick", help="Ten seconds: leave out the density of the papers' size.")
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="File to write all of it to.")] = None,
) -> int:
    """Measure this machine: training, scoring, sampling and sample propagation; plan and run then go by it."""
    from infoplane.cli.bench import bench as command

    return command(device, quick=quick, out=json)


@app.command()
def measure(
    model: Model,
    data: Annotated[str, typer.Option(help="A folder of images, a .npz file, or the name of a data set.")],
    layers: Annotated[list[str], typer.Option(help="Layers, as `infoplane layers` names them: --layers a b c.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")],
    budget: Annotated[str, typer.Option(help="Time in all (90s, 10m, 2h), or updates per fit (500).")] = "10m",
    kinds: Annotated[
        list[str] | None, typer.Option(help="What is measured: --kinds nce usable contrastive label mse samples.")
    ] = None,
    checkpoints: Annotated[
        list[str] | None, typer.Option(help="Earlier weights, in training order: --checkpoints 0=a.pt 10=b.pt.")
    ] = None,
    transform: Transform = None,
    read_as: ReadAs = None,
    levels: Annotated[
        int | None,
        typer.Option(help="Values that a pixel can take; default: as the data say.", **_number("--levels", 2, 256)),
    ] = None,
    options: Options = None,
    groups: Groups = None,
    prior: Annotated[
        str | None, typer.Option(help="The classes' true probabilities, if known: uniform, or 0.2,0.3,0.5.")
    ] = None,
    density: Annotated[
        str, typer.Option(help="What is fitted: auto, what does better on held-out images; or pixelcnn.")
    ] = "auto",
    device: Device = "auto",
    seed: Seed = 0,
    refits: Refits = None,
    workers: Workers = None,
    tensorboard: TensorBoard = False,
    quiet: Quiet = False,
) -> int:
    """Measure your own network on your own images."""
    from infoplane.cli.measure import measure_by_reference as command

    return command(
        model,
        data,
        options or [],
        groups,
        layers,
        out,
        checkpoints=checkpoints or [],
        budget=budget,
        kinds=kinds or None,
        transform=transform,
        read_as=read_as or [],
        prior=prior,
        density=density,
        levels=levels,
        device=device,
        seed=seed or 0,
        refits=refits,
        workers=workers,
        tensorboard=tensorboard,
        quiet=quiet,
    )


@app.command()
def layers(
    model: Model,
    shape: Annotated[str | None, typer.Option("--input", help="Shape of one input, e.g. 3x32x32.")] = None,
    data: Annotated[str | None, typer.Option(help="Instead: the data, as for `infoplane measure`.")] = None,
    transform: Transform = None,
    read_as: ReadAs = None,
) -> int:
    """List the layers of a network that fire, with their shapes, and how each is read."""
    from infoplane.cli.layers import layers as command

    return command(model, shape, data, transform, read_as or [])


@app.command()
def data(
    name: Annotated[str | None, typer.Argument(help="Name or path of a data set to check; none: list all.")] = None,
    download: Annotated[str | None, typer.Option(help="Name of a data set to download into the cache.")] = None,
    options: Options = None,
    groups: Groups = None,
) -> int:
    """List the data sets and where they are; check one; download one."""
    from infoplane.cli.data import data as command

    return command(name, download, options or [], groups)


@app.command()
def schema() -> int:
    """Print what a study's file may hold, as a JSON Schema for editors."""
    import json

    from infoplane.study.schema import schema as found

    print(json.dumps(found(), indent=1, ensure_ascii=False))
    return 0


@app.command()
def clean(
    folder: Annotated[Path, typer.Argument(help="A run's folder.")],
    yes: Annotated[bool, typer.Option("--yes", help="Delete them without asking.")] = False,
) -> int:
    """Say which stored parts a run does not need any more, and delete them where that is wanted."""
    from infoplane.cli.clean import clean as command

    return command(folder, yes=yes)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run's folder, finished or not.")]) -> int:
    """Write a run's tables and page anew."""
    from infoplane.cli.report import report as command

    return command(folder)
