"""python NAME_predict.py PICTURE.png MASK.png: a mask, by the NAME.onnx that lies beside; needs onnxruntime, numpy and Pillow alone."""
import json
import sys
from itertools import product
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image


def read(path: str, channels: int) -> Any:                          # (C, H, W) float32, in the file's range
    picture = Image.open(path, formats=["PNG"])
    wanted, stored = ("L", "I;16B") if channels == 1 else ("RGB",), picture.tile[0].args  # of 16-bit colours Pillow leaves 8
    unclear = "transparency" in picture.info or picture.getexif().get(0x0112, 1) != 1 or getattr(picture, "n_frames", 1) > 1
    if stored not in wanted or unclear:
        sys.exit(f"{path}: is {stored}, expected one picture in {' or '.join(wanted)}, neither transparent nor turned by Exif; save it so")
    return np.moveaxis(np.atleast_3d(np.asarray(picture, np.float32)), -1, 0)

def in_range(x: Any, rule: Any) -> Any:                             # (C, H, W), in the network's range
    if rule["kind"] == "zscore":
        sample = x.reshape(len(x), -1)[:, :: -(-x[0].size // rule["sample"])].astype(np.float64)
        low, high = np.percentile(sample, rule["percentiles"], axis=1, keepdims=True)
        sample = sample.clip(low, high)
        mean, scale = sample.mean(axis=1), sample.std(axis=1)
        low, high, mean, scale = (np.float32(v).reshape(-1, 1, 1) for v in (low, high, mean, scale + (scale == 0)))
        return ((x.clip(low, high) - mean) / scale).clip(-rule["limit"], rule["limit"])
    if rule["accepts"] and not rule["accepts"][0] <= x.min() <= x.max() <= rule["accepts"][1]:
        sys.exit(f"the pixels run from {x.min():g} to {x.max():g}, the model takes {rule['accepts']}; rescale the picture")
    return ((x - rule["centre"]) / rule["half"]).clip(-1, 1)

def resized(x: Any, shape: Any) -> Any:                             # bilinear, antialiased on the way down
    return np.stack([np.asarray(Image.fromarray(one).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)) for one in x])

def score(x: Any, card: Any, model: Any) -> Any:                    # (K, H, W): the mean over overlapping windows and mirror images
    shape, tiles = x.shape[1:], card["tiles"]
    size = shape if shape[0] * shape[1] <= tiles["whole_up_to"] else np.minimum(shape, tiles["tile"])
    starts = [[*range(0, n - w, max(1, int(w * (1 - tiles["overlap"])))), n - w] for n, w in zip(shape, size, strict=True)]
    bell = np.outer(*(np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 4)) ** 2) for n in size)).clip(1e-3)
    total, weight = np.zeros((len(card["classes"]), *shape)), np.zeros(shape)
    for row, column in product(*starts):
        window = np.s_[:, row : row + size[0], column : column + size[1]]
        for axes in map(tuple, card["mirror_images"]):
            logits = model.run(None, {card["input"]: np.flip(x[window], axes)[None]})[0][0]
            total[window] += bell * np.flip(logits, axes)
            weight[window[1:]] += bell
    return (total / weight).astype(np.float32)

def main(picture: str, mask: str) -> None:
    model = onnxruntime.InferenceSession(sys.argv[0].removesuffix("_predict.py") + ".onnx", providers=["CPUExecutionProvider"])
    card = json.loads(model.get_modelmeta().custom_metadata_map["segkit"])
    x = in_range(read(picture, card["channels"]), card["intensity"])
    shape, side = x.shape[1:], card["long_side"]
    logits = score(resized(x, [max(1, round(n * (side / max(shape)))) for n in shape]) if side else x, card, model)
    values = np.array([one["value"] for one in card["classes"]])[resized(logits, shape).argmax(axis=0)]
    Image.fromarray(values.astype(np.uint8 if values.max() < 256 else np.uint16)).save(mask, format="PNG")

if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 3 else sys.exit(__doc__)
