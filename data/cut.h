#pragma once

#include "data/dataset.h"
#include "data/resize.h"

namespace apotnet {

/// How pictures become images of one size.
struct PictureGeometry {
  int size = 224;     ///< side of the images
  int resized = 256;  ///< shorter side that pictures are resized to before the cut
};

/// Error(configuration) unless 1 <= size <= resized.
void check_geometry(const PictureGeometry& geometry);

/// Where the image is cut out of the resized picture `whole`: the middle, or anywhere (one draw down, one across).
Box draw_crop(ImageSize whole, int size, Cut cut, Philox random);

/// The part of a picture that is resized to become the image (torchvision's RandomResizedCrop with its defaults): up to
/// ten tries of an area of 8 to 100 % and a ratio of 3:4 to 4:3, uniform in its logarithm; the middle if none fits.
Box draw_resized_crop(ImageSize whole, Philox random);

/// The pixels of a picture that cut_image() reads.
Box pixels_for_cut(ImageSize whole, const PictureGeometry& geometry, Cut cut, Philox random);

/// The image [size, size, 3] of a picture. Only what is seen is computed.
Image cut_image(const Image& picture, const PictureGeometry& geometry, Cut cut, Philox random);

}  // namespace apotnet
