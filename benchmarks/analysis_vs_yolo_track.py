"""Times a whole analysis against `yolo track` on the same video and weights, in turns.

Ours: probe, decode, Triton, identities, smoothing, chunks, results.csv, results.json,
overlaid_results.mp4 and report.ipynb. Theirs: `yolo track model=X.onnx save=True
save_txt=True` with Ultralytics' own export of the same weights. Each run is a process of
its own and its whole wall time counts, from the start of Python to its end; Triton is up
before. Turns are taken (A B A B ...), so that a busy machine slows both; the CPU seconds of
each run, Triton's for ours included, are told too, since they hardly depend on what else runs.
Needs the package ``lap``, which Ultralytics' tracker imports.

    python benchmarks/analysis_vs_yolo_track.py --video V.mp4 --images FRAMES --labels LABELS \
        --names mouse --keypoints snout,leftear,rightear,tailbase
"""

import argparse
import importlib.util
import json
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from components.settings import Settings

MODEL = "benchmark"


def main() -> None:
    """Prepare, run in turns, print."""
    options = parse()
    # Triton must not outlive us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    if options.child:
        analyse_once(options)
        return
    with tempfile.TemporaryDirectory(prefix="actverse-benchmark-") as folder:
        work = Path(folder)
        environment(work)
        served, plain = prepare(options, work)
        frames = 0
        seconds: dict[str, list[tuple[float, float]]] = {"actverse": [], "yolo track": []}
        with triton(options, work, served) as (url, server):
            for number in range(options.repeats):
                ours = work / f"ours{number}"
                argv = [sys.executable, str(Path(__file__).absolute()), "--child", url]
                argv += ["--video", str(options.video), "--results", str(ours)]
                argv += ["--batch-size", str(options.batch_size)]
                before = cpu_seconds(server)
                wall, cpu = timed(argv, work)
                seconds["actverse"].append((wall, cpu + cpu_seconds(server) - before))
                told = json.loads((ours / "told.json").read_text())
                frames = told["frames"]
                report("actverse", number, seconds["actverse"][-1], told)

                theirs = work / f"theirs{number}"
                argv = [str(Path(sys.executable).with_name("yolo")), "track"]
                argv += [f"model={plain}", f"source={options.video}", f"imgsz={options.imgsz}"]
                argv += ["save=True", "save_txt=True", "verbose=False"]
                argv += [f"project={theirs}", "name=track", "device=cpu"]
                seconds["yolo track"].append(timed(argv, work))
                labels = len(list(theirs.rglob("labels/*.txt")))
                report("yolo track", number, seconds["yolo track"][-1], {"frames found in": labels})
                if number + 1 < options.repeats:
                    shutil.rmtree(ours)
                    shutil.rmtree(theirs)
        print(f"\n{frames} frames, {options.imgsz} px, {options.accelerator}")
        medians = {}
        for name, runs in seconds.items():
            medians[name] = [statistics.median(column) for column in zip(*runs, strict=True)]
            wall, cpu = medians[name]
            print(
                f"  {name:11} median {wall:6.2f} s ({frames / wall:.1f} frames/s), CPU {cpu:.2f} s"
            )
        faster, lighter = (
            theirs / ours
            for theirs, ours in zip(medians["yolo track"], medians["actverse"], strict=True)
        )
        print(f"  actverse is {faster:.2f} times as fast, with {1 / lighter:.2f} of the CPU time")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--images", type=Path, help="labelled frames, to train and export with")
    parser.add_argument("--labels", type=Path, help="their YOLO labels")
    parser.add_argument("--names", default="object", help="class names, with commas")
    parser.add_argument("--keypoints", default="", help="key point names, for pose")
    parser.add_argument("--model-pt", type=Path, help="trained weights; default: train some")
    parser.add_argument("--epochs", type=int, default=15, help="of that training")
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--accelerator", choices=["onnxruntime", "openvino"], default="onnxruntime")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.video = options.video.absolute()
    if not options.child and not (options.images and options.labels):
        parser.error("--images and --labels are needed")
    if importlib.util.find_spec("lap") is None:
        parser.error("yolo track needs the package lap: install it")
    return options


def environment(work: Path) -> None:
    """No look-ups of Ultralytics' in either run."""
    from components.ultralytics_env import prepare as prepare_ultralytics

    prepare_ultralytics(work)


def prepare(options: argparse.Namespace, work: Path) -> tuple[Path, Path]:
    """Our served ONNX file and Ultralytics' own export of the same weights."""
    from ultralytics import YOLO

    from components.dataset.build import build_dataset
    from components.export.export import export_model
    from components.labels import LabelSpec
    from components.training.settings import TrainingSettings
    from components.training.train import train

    points = tuple(filter(None, options.keypoints.split(",")))
    spec = LabelSpec(
        task="pose" if points else "detect",
        names=tuple(options.names.split(",")),
        keypoints=points,
    )
    dataset = work / "dataset"
    build_dataset(options.images, options.labels, dataset, spec)
    weights = work / "model.pt"
    if options.model_pt:
        shutil.copy2(options.model_pt, weights)
    else:
        choices = TrainingSettings(imgsz=options.imgsz, epochs=options.epochs, plots=False)
        train(dataset, work / "training", choices)
        shutil.copy2(work / "training" / "model.pt", weights)
    export_model(weights, dataset, work / "export", spec, imgsz=options.imgsz)
    plain = YOLO(weights).export(format="onnx", imgsz=options.imgsz, dynamic=False)
    return work / "export" / "model.onnx", Path(plain)


@contextmanager
def triton(
    options: argparse.Namespace, work: Path, onnx: Path
) -> Iterator[tuple[str, psutil.Process]]:
    """A Triton that serves ``onnx``: host:port of its gRPC service, and its process."""
    from components.serving.control import TritonControl
    from components.serving.repository import ModelRepository
    from components.serving.server import remove_shared_memory, triton_launch, triton_ready

    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    grpc, metrics = (one.getsockname()[1] for one in sockets)
    for one in sockets:
        one.close()
    accelerator = "openvino" if options.accelerator == "openvino" else ""
    settings = Settings(home=work / "home", triton_accelerator=accelerator)
    repository = ModelRepository(settings)
    repository.onnx(MODEL, 1).parent.mkdir(parents=True)
    shutil.copy2(onnx, repository.onnx(MODEL, 1))
    repository.write_config(MODEL, {1})
    launch = triton_launch(settings, grpc_port=grpc, metrics_port=metrics, work=work)
    url = f"127.0.0.1:{grpc}"
    with (work / "triton.log").open("wb") as log:
        process = subprocess.Popen(launch.argv, env=launch.env, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not triton_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit((work / "triton.log").read_text())
            time.sleep(0.1)
        TritonControl(url).load(MODEL)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)
        remove_shared_memory(launch.shared_memory_prefix)


def analyse_once(options: argparse.Namespace) -> None:
    """One whole analysis, in this process."""
    from components.analysis.analyse import analyse
    from components.analysis.options import AnalysisOptions
    from components.results.write_results import write_results
    from components.serving.client import TritonModel

    started = time.perf_counter()
    with TritonModel(options.child, MODEL, 1, shared_memory=True) as model:
        facts = analyse(
            options.video,
            options.results,
            model,
            task_id="benchmark",
            model_name=MODEL,
            model_version=1,
            options=AnalysisOptions(batch_size=options.batch_size),
        )
    analysed = time.perf_counter()
    write_results(options.video, options.results)
    told = {
        "frames": facts.frames,
        "detections": facts.detections,
        "identities": facts.identities,
        "analysis s": round(analysed - started, 2),
        "results s": round(time.perf_counter() - analysed, 2),
    }
    (options.results / "told.json").write_text(json.dumps(told))


def timed(argv: list[str], work: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a process; its output goes to a file, shown where it fails."""
    log = work / "run.log"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    with log.open("wb") as output:
        ended = subprocess.run(
            argv, stdout=output, stderr=output, cwd=work, env=os.environ, check=False
        )
    seconds = time.perf_counter() - started
    if ended.returncode:
        sys.exit(log.read_text())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu


def cpu_seconds(process: psutil.Process) -> float:
    """What a process and its children have used so far."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def report(name: str, number: int, seconds: tuple[float, float], told: dict[str, object]) -> None:
    """One line for one run."""
    facts = ", ".join(f"{key} {value}" for key, value in told.items())
    print(
        f"{number + 1} {name:11} {seconds[0]:6.2f} s, CPU {seconds[1]:6.2f} s   {facts}", flush=True
    )


if __name__ == "__main__":
    main()
