#pragma once

#include <string>
#include <vector>

namespace apotnet {

/// The first name of each of the 1,000 classes of the ImageNet challenge of 2012, in the order of their folders
/// (n01440764 to n15075141), as torchvision's weights number them.
std::vector<std::string> imagenet_class_names();

}  // namespace apotnet
