#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "core/base/philox.h"
#include "core/quant/quantized.h"
#include "core/tensor/tensor.h"

namespace apotnet::test {

/// A stream of test numbers of its own for every seed.
inline Philox random_numbers(uint64_t seed) { return Philox(seed, RandomStream::test); }

/// Normal values of the given mean and deviation.
inline Tensor random_tensor(const Shape& shape, DType dtype, Philox& random, double deviation = 1, double mean = 0) {
  Tensor result(shape, dtype);
  dispatch_float(dtype, [&](auto zero) {
    using Float = decltype(zero);
    for (Float& value : result.data<Float>()) value = static_cast<Float>(mean + deviation * random.normal());
  });
  return result;
}

/// Values of both signs whose magnitudes lie in [least, least + range): nothing near a kink at zero.
inline Tensor away_from_zero(const Shape& shape, Philox& random, double least = 0.1, double range = 2) {
  Tensor result(shape, DType::f64);
  for (double& value : result.data<double>()) value = (least + range * random.uniform()) * (random.below(2) ? 1 : -1);
  return result;
}

inline std::vector<double> doubles(const Tensor& tensor) {
  std::vector<double> values(static_cast<size_t>(tensor.elements()));
  dispatch_any(tensor.dtype(), [&](auto zero) {
    std::ranges::transform(tensor.data<decltype(zero)>(), values.begin(),
                           [](auto v) { return static_cast<double>(v); });
  });
  return values;
}

/// |found - wanted| / |wanted|, both as vectors, on whatever device they lie; |found| where the wanted are all 0.
inline double relative_error(const Tensor& found, const Tensor& wanted) {
  const std::vector<double> a = doubles(found.on({})), b = doubles(wanted.on({}));
  REQUIRE(a.size() == b.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) difference += (a[i] - b[i]) * (a[i] - b[i]), size += b[i] * b[i];
  return std::sqrt(size > 0 ? difference / size : difference);
}

/// Fails the test when the data are too trivial to prove anything: not finite, mostly zero, or all the same.
inline void check_data(const Tensor& tensor, double least_non_zero = 0.5) {
  const std::vector<double> values = doubles(tensor);
  size_t non_zero = 0;
  for (const double value : values) {
    REQUIRE(std::isfinite(value));
    non_zero += value != 0;
  }
  REQUIRE(static_cast<double>(non_zero) >= least_non_zero * static_cast<double>(values.size()));
  if (values.size() > 1) REQUIRE(std::set<double>(values.begin(), values.end()).size() > 1);
}

/// Fails the test when a level is missing among the codes (of either sign for signed codes).
inline void check_all_levels(const Quantized& q, bool has_sign) {
  const std::vector<double> values = doubles(q.codes);
  const std::set<double> seen(values.begin(), values.end());
  for (const int64_t code : q.levels->codes()) {
    CAPTURE(code);
    REQUIRE(seen.contains(static_cast<double>(code)));
    if (has_sign) REQUIRE(seen.contains(-static_cast<double>(code)));
  }
}

/// The largest |a - b| over the largest |b|.
inline double relative_difference(const Tensor& a, const Tensor& b) {
  REQUIRE(a.shape() == b.shape());
  const std::vector<double> as = doubles(a), bs = doubles(b);
  double difference = 0, largest = 0;
  for (size_t i = 0; i < as.size(); ++i) {
    REQUIRE(std::isfinite(as[i]));
    difference = std::max(difference, std::abs(as[i] - bs[i]));
    largest = std::max(largest, std::abs(bs[i]));
  }
  return difference == 0 ? 0 : difference / largest;
}

/// Same type, shape and bits.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && std::equal(a.raw(), a.raw() + a.bytes(), b.raw());
}

}  // namespace apotnet::test
