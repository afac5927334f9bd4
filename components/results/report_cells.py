# mypy: ignore-errors
# %% [markdown]
# # What was found in the video of task TASK_ID
#
# This notebook reads `results.csv` (one row for each animal or object in each frame) and
# `results.json` from the folder it lies in. Run all cells from the top; change them as you
# like. The video with everything drawn on it is `overlaid_results.mp4`.
#
# Positions are in pixels of the video, with y pointing down, times in seconds.
# %%
import base64
import io
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

HERE = Path()  # the folder of this notebook
with (HERE / "results.json").open(encoding="utf-8") as file:
    analysis = json.load(file)
metadata = analysis["metadata"]
times = pd.Series(
    {entry["frame"]: entry["timestamp"] for entry in analysis["results"]}, dtype=float
)
del analysis  # the table below holds the rest
# A class may be called "NA": only an empty id stands for none.
AS_WRITTEN = {
    "dtype": {"id": str, "class": str},
    "keep_default_na": False,
    "na_values": {"id": [""]},
}
table = pd.read_csv(HERE / "results.csv", **AS_WRITTEN)
# Names that a spreadsheet would take for formulas have an apostrophe before them there.
escaped = r"(?:^|(?<=[;,|\t\r\n]))'(?=[\s\"']*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])"
table["class"] = table["class"].str.replace(escaped, "", regex=True)
table.columns = table.columns.str.replace(escaped, "", regex=True)
width, height = metadata["origin_width"], metadata["origin_height"]

pd.Series(
    {
        "model": f"{metadata['model_name']}, version {metadata['model_version']}",
        "frames analysed": len(times),
        "frames of the video": metadata["frame_count"],
        "frames a second": round(metadata["fps"], 3),
        "length analysed": f"{times.max():.2f} s",
        "size": f"{width} x {height} pixels",
        "classes": ", ".join(metadata["labels"]["names"]),
        "detections": len(table),
        "frames without any": len(times) - table["frame"].nunique(),
    },
    name="value",
).to_frame()
# %% [markdown]
# ## Who was seen
#
# One row for each identity. An identity is what the tracker took for one and the same
# animal or object; when it loses one from sight for long, that one comes back under a new
# number, so look out for identities that were seen only shortly. Detections without an
# identity (the first frame of each, or those the tracker held for noise) are left out, unless
# there is no identity at all: then each class counts as one.
#
# `distance` is the length of the way of the centre of its box. It counts the trembling of
# the box too, so it is an upper bound for a resting animal.
# %%
tracked = table.dropna(subset=["id"]).copy()
if tracked.empty:
    tracked = table.assign(id=table["class"]).drop_duplicates(["frame", "id"]).copy()
tracked["x"] = (tracked["x1"] + tracked["x2"]) / 2
tracked["y"] = (tracked["y1"] + tracked["y2"]) / 2
tracked = tracked.sort_values(["id", "frame"])
steps = tracked.groupby("id")[["x", "y", "timestamp"]].diff()
tracked["step"] = np.hypot(steps["x"], steps["y"])
tracked["speed"] = tracked["step"] / steps["timestamp"]

# Numbers as numbers, so that identity 10 follows 9.
identities = sorted(tracked["id"].unique(), key=lambda i: (not i.isdecimal(), i.zfill(9)))
colours = {identity: f"C{number % 10}" for number, identity in enumerate(identities)}

summary = (
    tracked.groupby("id")
    .agg(
        classes=("class", lambda names: ", ".join(sorted(names.unique()))),
        frames=("frame", "nunique"),
        first_seen=("timestamp", "min"),
        last_seen=("timestamp", "max"),
        mean_score=("score", "mean"),
        distance=("step", "sum"),
        median_speed=("speed", "median"),
    )
    .reindex(identities)
)
summary.insert(2, "share_of_video", summary["frames"] / max(1, len(times)))
summary.round(3)
# %% [markdown]
# ## Detections over time
#
# How many were found in each frame. Dips tell where the model missed some; look at the
# overlay there, and label such frames to make the model better.
# %%
counts = table.groupby(["frame", "class"]).size().unstack(fill_value=0)
counts = counts.reindex(times.index, fill_value=0)
figure, axes = plt.subplots(figsize=(10, 2.5))
for name in metadata["labels"]["names"]:
    if name in counts:
        axes.step(times, counts[name], where="post", label=name, linewidth=1)
axes.set(xlabel="time (s)", ylabel="found in the frame", ylim=(0, None))
if len(counts.columns):
    axes.legend(loc="upper right")
plt.show()
# %% [markdown]
# ## Where each one went
# %%
FRAME_JPEG = "BACKGROUND"
background = (
    plt.imread(io.BytesIO(base64.b64decode(FRAME_JPEG)), format="jpg") if FRAME_JPEG else None
)
# %%
figure, axes = plt.subplots(figsize=(8, 8 * height / width))
if background is not None:
    axes.imshow(background, extent=(0, width, height, 0), alpha=0.6)
for identity, path in tracked.groupby("id"):
    axes.plot(path["x"], path["y"], color=colours[identity], linewidth=1, label=identity)
    axes.plot(path["x"].iloc[0], path["y"].iloc[0], "o", color=colours[identity])
axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xlabel="x (px)", ylabel="y (px)")
axes.set_title("a dot marks where each began")
if 0 < len(identities) <= 20:
    axes.legend(title="identity", loc="upper right")
plt.show()
# %% [markdown]
# ## Speed
#
# In pixels a second, averaged over `WINDOW` seconds against the trembling of the boxes. Give
# `PIXELS_PER_CM` (measure something of known length in the overlay) to see centimetres.
# %%
WINDOW = 0.5
PIXELS_PER_CM = None
unit = "px/s" if PIXELS_PER_CM is None else "cm/s"
figure, axes = plt.subplots(figsize=(10, 3))
for identity, path in tracked.groupby("id"):
    speed = path["speed"].replace(np.inf, np.nan) / (PIXELS_PER_CM or 1)
    speed.index = pd.to_timedelta(path["timestamp"], unit="s")
    smooth = speed.rolling(pd.Timedelta(seconds=WINDOW), min_periods=1).mean()
    axes.plot(path["timestamp"], smooth.to_numpy(), color=colours[identity], label=identity)
axes.set(xlabel="time (s)", ylabel=f"speed ({unit})", ylim=(0, None))
if 0 < len(identities) <= 20:
    axes.legend(title="identity", loc="upper right")
plt.show()
# %% [markdown]
# ## Where they stayed
#
# Seconds spent in each part of the frame, all identities together.
# %%
CELLS_ACROSS = 32
seconds_a_frame = times.diff().median() if len(times) > 1 else 1 / metadata["fps"]
cells_down = max(1, round(CELLS_ACROSS * height / width))
dwell, _, _ = np.histogram2d(
    tracked["y"], tracked["x"], bins=(cells_down, CELLS_ACROSS), range=((0, height), (0, width))
)
figure, axes = plt.subplots(figsize=(8, 8 * height / width))
heat = axes.imshow(dwell * seconds_a_frame, extent=(0, width, height, 0), cmap="magma")
axes.set(xlabel="x (px)", ylabel="y (px)")
figure.colorbar(heat, ax=axes, label="seconds", shrink=0.8)
plt.show()
# %% [markdown] [pose]
# ## How sure the model is of each key point
#
# The distribution of the scores. A key point whose scores are often low is hidden often, or
# needs more labels; below 0.5 it is drawn hollow in the overlay.
# %% [pose]
points = metadata["labels"]["keypoints"]
scores = [table[f"{point}_score"].to_numpy() for point in points]
figure, axes = plt.subplots(figsize=(8, 0.6 + 0.4 * len(points)))
if len(table):
    axes.boxplot(scores, orientation="horizontal", showfliers=False)
axes.set_yticks(range(1, len(points) + 1), points)
axes.set(xlabel="score", xlim=(0, 1))
axes.invert_yaxis()
plt.show()

pd.DataFrame(
    {
        "mean score": [np.mean(s) if len(s) else np.nan for s in scores],
        "share below 0.5": [np.mean(s < 0.5) if len(s) else np.nan for s in scores],
    },
    index=points,
).round(3)
# %% [markdown] [pose]
# Trembling that smoothing took away: how far the smoothed key points lie from the raw ones,
# in pixels. The columns `<name>_smoothed_x` and `<name>_smoothed_y` hold them.
# %% [pose]
pd.DataFrame(
    {
        point: np.hypot(
            table[f"{point}_smoothed_x"] - table[f"{point}_x"],
            table[f"{point}_smoothed_y"] - table[f"{point}_y"],
        ).describe()
        for point in points
    }
).T.round(2)
