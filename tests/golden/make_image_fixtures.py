#!/usr/bin/env python3
"""Writes small images of every kind that data/image.h reads, with what Pillow makes of them.

  make_image_fixtures.py FOLDER [SEED [FILE...]]      # tests/golden/images is the folder of seed 1

FOLDER/images.json: per file its size, the CRC-32 of its pixels as convert("RGB") gives them, and the CRC-32 after
torchvision's Resize(side) and CenterCrop(crop) in Pillow's arithmetic. Each FILE is looked at as well, for side 256.
"""
import json
import os
import sys
import zlib

import numpy as np
from PIL import Image


def picture(random, height, width):
    """Colour gradients, a disc and some noise: all of what a decoder has to do, and still small as JPEG."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    channels = []
    for _ in range(3):
        a, b, c = random.uniform(-3, 3, 3)
        channels.append(127 + 120 * np.sin(a * x / width + b * y / height + 6 * c))
    pixels = np.stack(channels, 2)
    inside = (x - width * random.random()) ** 2 + (y - height * random.random()) ** 2 < (min(height, width) / 3) ** 2
    pixels[inside] = random.uniform(0, 255, 3)
    return Image.fromarray(np.clip(pixels + random.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8))


def write_images(folder, seed):
    random = np.random.default_rng(seed)

    def size():
        return [int(v) for v in random.integers(20, 70, 2)]

    def alpha(image):
        mask = picture(random, image.height, image.width).convert("L")
        image.putalpha(mask)
        return image

    jpeg = {
        "444.jpg": dict(subsampling=0, quality=90), "422.jpg": dict(subsampling=1, quality=80),
        "420.jpg": dict(subsampling=2, quality=85), "poor.jpg": dict(subsampling=2, quality=10),
        "progressive.jpg": dict(subsampling=2, quality=75, progressive=True),
        "restarts.jpg": dict(subsampling=2, quality=75, restart_marker_blocks=2)}
    for name, options in jpeg.items():
        picture(random, *size()).save(os.path.join(folder, name), **options)
    rest = {
        "grey.jpg": lambda p: p.convert("L"), "cmyk.jpg": lambda p: p.convert("CMYK"), "rgb.png": lambda p: p,
        "rgba.png": alpha, "grey.png": lambda p: p.convert("L"), "grey_alpha.png": lambda p: alpha(p.convert("L")),
        "palette.png": lambda p: p.quantize(11), "bits.png": lambda p: p.convert("1"), "rgb.bmp": lambda p: p,
        "rgba.bmp": alpha, "grey.bmp": lambda p: p.convert("L"), "palette.bmp": lambda p: p.quantize(200),
        "bits.bmp": lambda p: p.convert("1")}
    for name, convert in rest.items():
        convert(picture(random, *size())).save(os.path.join(folder, name))
    picture(random, 3, 61).save(os.path.join(folder, "flat.jpg"), quality=85)
    picture(random, 150, 1).save(os.path.join(folder, "thin.png"))
    picture(random, 40, 50).save(os.path.join(folder, "png_named.JPEG"), format="PNG")
    return sorted([*jpeg, *rest, "flat.jpg", "thin.png", "png_named.JPEG"])


def row(path, name, side, crop):
    image = Image.open(path).convert("RGB")
    short, long = sorted(image.size)
    scaled = int(side * long / short)
    width, height = (side, scaled) if image.width <= image.height else (scaled, side)
    # In two steps, because Pillow since 13 resizes the columns of tall images before the rows; all others begin with rows.
    resized = image.resize((width, image.height), Image.BILINEAR).resize((width, height), Image.BILINEAR)
    top, left = int(round((resized.height - crop) / 2.0)), int(round((resized.width - crop) / 2.0))
    cropped = resized.crop((left, top, left + crop, top + crop))
    return dict(file=name, height=image.height, width=image.width, pixels=zlib.crc32(image.tobytes()), side=side,
                crop=crop, cropped=zlib.crc32(cropped.tobytes()))


if __name__ == "__main__":
    folder, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    os.makedirs(folder, exist_ok=True)
    rows = [row(os.path.join(folder, name), name, 24 + i, 21) for i, name in enumerate(write_images(folder, seed))]
    rows += [row(path, path, 256, 224) for path in sys.argv[3:]]
    with open(os.path.join(folder, "images.json"), "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")
