#pragma once

#include <string>

#include "tools/report/run_report.h"

namespace apotnet {

/// A card for each quantized layer: its clipping thresholds over the epochs, how many weights and inputs take each
/// level (levels that none takes are marked), and its weights as a picture. HTML; empty for a float run.
std::string layer_cards(const RunReport& report);

/// Some kernels of the first quantized layer, each weight labelled with the sum of powers of two that it is. HTML;
/// empty for a float run.
std::string labelled_kernels(const RunReport& report);

}  // namespace apotnet
