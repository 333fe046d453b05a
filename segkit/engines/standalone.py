"""python NAME_predict.py PICTURE MASK.png: a mask of a PNG, JPEG, BMP or TIFF by the NAME.onnx beside; needs onnxruntime, numpy and Pillow alone."""
import json
import sys
from itertools import product
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

TAKEN = {1: (("L", "I;16", "I;16B", "I;16N"), "grey of 8 or 16 bits, 0 as black"), 3: (("RGB", "BGR", "BGRX"), "RGB of 8 bits")}  # modes of Pillow
def read(path: str, channels: int) -> Any:                          # (C, H, W) float32, in the file's range
    picture = Image.open(path, formats=["PNG", "JPEG", "BMP", "TIFF"])
    (wanted, words), stored, tags = TAKEN[channels], np.array(picture.tile[0].args).flat[0], getattr(picture, "tag_v2", {})  # of a TIFF
    hidden = {32997, 33629} & set(tags) or any(word in str(tags.get(270)).replace("images=1\n", "") for word in ("images=", '"truncated"', "OME>"))
    unclear = "transparency" in picture.info or picture.getexif().get(274) in range(2, 9) or tags.get(262, 1) not in (1, 2) or 2 in tags.get(339, ())
    if stored not in wanted or unclear or hidden or getattr(picture, "n_frames", 1) > 1:      # hidden: pages that Pillow does not count
        sys.exit(f"{path}: is {picture.format} in {stored}, the model takes one picture in {words}, opaque and upright; save it as such a PNG")
    return np.moveaxis(np.atleast_3d(np.asarray(picture, np.float32)), -1, 0)

def in_range(x: Any, rule: Any) -> Any:                             # (C, H, W), in the network's range
    if rule["kind"] == "zscore":
        sample = x.reshape(len(x), -1)[:, :: -(-x[0].size // rule["sample"])].astype(np.float64)
        low, high = np.percentile(sample, rule["percentiles"], axis=1, keepdims=True)
        mean, scale = (measure(sample.clip(low, high), axis=1) for measure in (np.mean, np.std))
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
    for row, column, axes in product(*starts, map(tuple, card["mirror_images"])):
        window = np.s_[:, row : row + size[0], column : column + size[1]]
        total[window] += bell * np.flip(model.run(None, {card["input"]: np.flip(x[window], axes)[None]})[0][0], axes)
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
    try:
        main(*sys.argv[1:]) if len({*sys.argv}) == 3 and sys.argv[2].endswith(".png") else sys.exit(f"usage: python {sys.argv[0]} PICTURE MASK.png")
    except Exception as error:                                      # of Pillow, of onnxruntime, of the disk
        sys.exit(f"{sys.argv[1]} -> {sys.argv[2]}: {type(error).__name__}: {error}")
