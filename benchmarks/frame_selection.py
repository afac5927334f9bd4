"""Times each strategy of frame selection against decoding the same video, and its memory.

Each run is a process of its own that times the work alone, without the start of Python, and
tells its peak memory. Turns are taken, so that a busy machine slows all of them. The short
and the long video are copies of the one given, one behind the other, so what differs
between them is the length.

    .venv/bin/python benchmarks/frame_selection.py --video VIDEO.mp4
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.frame_results import FrameResult

DECODE = "decode"
RUNS = (DECODE, "uniform", "diverse", "motion", "uncertain", "active")


def main() -> None:
    """Prepare, run in turns, print."""
    options = parse()
    if options.child:
        print(json.dumps(run_once(options.child, options.video, options.facts, options.number)))
        return
    with tempfile.TemporaryDirectory(prefix="actverse-benchmark-") as folder:
        for copies, repeats in ((options.short, options.repeats), (options.long, 1)):
            video = Path(folder) / f"{copies}.mp4"
            facts = video.with_suffix(".json")
            apart("prepare", options, video, facts, ["--copies", str(copies)])
            told: dict[str, list[dict[str, float]]] = {name: [] for name in RUNS}
            for _ in range(repeats):
                for name in RUNS:
                    told[name].append(apart(name, options, video, facts))
            report(json.loads(facts.read_text()), told)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--number", type=int, default=48, help="frames to choose")
    parser.add_argument("--short", type=int, default=2, help="copies in the short video")
    parser.add_argument("--long", type=int, default=12, help="copies in the long video")
    parser.add_argument("--repeats", type=int, default=3, help="turns on the short video")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--facts", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--copies", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child == "prepare":
        prepare(options.source, options.copies, options.video, options.facts)
        sys.exit(0)
    return options


def apart(
    name: str, options: argparse.Namespace, video: Path, facts: Path, more: list[str] | None = None
) -> dict[str, float]:
    """One run in a process of its own, and what it tells."""
    argv = [sys.executable, str(Path(__file__).absolute()), "--child", name]
    argv += ["--video", str(video), "--facts", str(facts), "--number", str(options.number)]
    argv += ["--source", str(options.video), *(more or [])]
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    if ended.returncode:
        sys.exit(ended.stderr)
    return json.loads(ended.stdout or "{}")


def prepare(source: Path, copies: int, video: Path, facts: Path) -> None:
    """Write ``copies`` of ``source`` one behind the other, without encoding, and the facts."""
    import av

    from components.video.probe import probe_video

    with av.open(str(video), "w") as output:
        written, shift = None, 0
        for _ in range(copies):
            with av.open(str(source)) as container:
                stream = container.streams.video[0]
                written = written or output.add_stream_from_template(stream)
                end = shift
                for packet in container.demux(stream):
                    if packet.dts is None:
                        continue
                    packet.pts += shift
                    packet.dts += shift
                    end = max(end, packet.pts + (packet.duration or 1))
                    packet.stream = written
                    output.mux(packet)
                shift = end
    facts.write_text(probe_video(video).model_dump_json())


def run_once(name: str, video: Path, facts: Path, number: int) -> dict[str, float]:
    """Decode or select in this process: seconds, CPU seconds, peak MB and frames chosen."""
    from components.video.decoding import decode, open_video
    from components.video.probe import VideoFacts
    from components.video.selection.options import SelectionOptions
    from components.video.selection.select import select_frames

    known = VideoFacts.model_validate_json(facts.read_text())
    began, before, chosen = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF), 0
    if name == DECODE:
        with open_video(video) as (container, stream):
            for _ in decode(video, container, stream):
                pass
    else:
        options = SelectionOptions(strategy=name, number=number)
        found = detections(known.frame_count, known.fps)
        chosen = len(select_frames(video, known, options, detections=found).frames)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": time.perf_counter() - began,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak": peak_mb(),
        "chosen": chosen,
    }


def detections(frame_count: int, fps: float) -> Iterator["FrameResult"]:
    """One object with four key points that wanders, in every frame."""
    import numpy as np

    from components.frame_results import FrameResult

    rng = np.random.default_rng(0)
    for index in range(frame_count):
        x = 200 + 100 * np.sin(index / 40)
        yield FrameResult(
            frame=index,
            timestamp=index / fps,
            boxes=[[x, 100, x + 60, 160]],
            boxes_score=[float(rng.random())],
            classes=["object"],
            keypoints=[[[0.5, 0.5]] * 4],
            keypoints_score=[[0.9] * 4],
        )


def peak_mb() -> float:
    """The most memory that this process has held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def report(facts: dict[str, float], told: dict[str, list[dict[str, float]]]) -> None:
    """A line for each strategy."""
    print(f"\n{facts['frame_count']} frames, {facts['duration']:.0f} s of video")
    base = middle(told[DECODE])
    for name, runs in told.items():
        this = middle(runs)
        print(
            f"  {name:10} {this['seconds']:6.2f} s ({this['seconds'] / base['seconds']:.2f} of "
            f"decoding), CPU {this['cpu']:6.2f} s ({this['cpu'] / base['cpu']:.2f}), peak "
            f"{this['peak']:.0f} MB, {this['chosen']:.0f} chosen",
            flush=True,
        )


def middle(runs: list[dict[str, float]]) -> dict[str, float]:
    """The medians of some runs."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


if __name__ == "__main__":
    main()
