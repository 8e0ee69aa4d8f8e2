#pragma once

#include "data/image.h"

namespace apotnet {

/// The size whose shorter side is `side`, the longer one floor(side * longer / shorter): torchvision's Resize(side).
ImageSize size_with_shorter_side(ImageSize size, int side);

/// The middle `box` of an image, as torchvision's CenterCrop: offset (whole - part) / 2, halves to the even number.
Box centre_box(ImageSize whole, ImageSize part);

/// The part `box` of the image resized to `size`: Pillow's resize(.., BILINEAR) then crop(..), bit for bit.
///
/// A pixel of the result is the mean of the input pixels around its centre c, weighted by the triangle
/// max(0, 1 - |i + 0.5 - c| / s) with s = max(1, input side / output side), so that shrinking loses no pixel. Weights
/// are integers of 22 fractional bits; rows first, rounded to 8 bits, then columns (Pillow since 13 takes the columns
/// of tall images first, which moves some values by 1). Only what `box` needs is computed.
Image resize_bilinear(const Image& image, ImageSize size, const Box& box);
Image resize_bilinear(const Image& image, ImageSize size);

/// The pixels of an image `whole` that resize_bilinear(image, size, box) reads.
Box pixels_for(ImageSize whole, ImageSize size, const Box& box);

/// What a network sees of an image in evaluation: the shorter side resized to `side`, then the middle `part`, which
/// must not be larger than side x side.
Image resize_and_crop(const Image& image, int side, ImageSize part);

}  // namespace apotnet
