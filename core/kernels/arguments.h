#pragma once

#include <type_traits>
#include <vector>

#include "core/kernels/kernels.h"

namespace apotnet {

/// Calls use(tensor) for each defined tensor of a kernel's argument. A new struct of arguments needs a line here.
template <typename Argument, typename Use>
void for_each_tensor(Argument& argument, Use&& use) {
  using Type = std::remove_const_t<Argument>;
  const auto each_of = [&](auto&... members) { (for_each_tensor(members, use), ...); };
  if constexpr (std::is_same_v<Type, Tensor>) {
    if (argument.defined()) use(argument);
  } else if constexpr (std::is_same_v<Type, Quantized>) {
    each_of(argument.codes, argument.step);
  } else if constexpr (std::is_same_v<Type, BatchNormTerms>) {
    each_of(argument.mean, argument.variance, argument.gamma, argument.beta);
  } else if constexpr (std::is_same_v<Type, std::vector<SgdItem>>) {
    for (auto& item : argument) each_of(item.gradient, item.parameter, item.velocity, item.squares);
  } else if constexpr (std::is_same_v<Type, ResidentImages>) {
    each_of(argument.images, argument.labels, argument.tables);
  } else if constexpr (std::is_same_v<Type, CodesConvolution>) {
    each_of(argument.x, argument.w);
  } else if constexpr (std::is_same_v<Type, ChannelThresholds>) {
    each_of(argument.values, argument.rising, argument.levels, argument.factor, argument.offset, argument.table);
  } else if constexpr (std::is_same_v<Type, ValueTerms>) {
    each_of(argument.scale, argument.shift, argument.shortcut);
  } else if constexpr (std::is_same_v<Type, ValuesOutput>) {
    each_of(argument.values);
    for (auto& codes : argument.codes) each_of(codes.table, codes.codes);
  } else {
    static_assert(std::is_arithmetic_v<Type> || std::is_enum_v<Type> || std::is_same_v<Type, Conv2dGeometry> ||
                      std::is_same_v<Type, PoolGeometry> || std::is_same_v<Type, SgdSettings>,
                  "an argument whose tensors are not known here");
  }
}

/// Whether a kernel writes to an argument of this type, taken without its reference: the const ones are inputs, but for
/// the items of an update, which lead to what it changes.
template <typename Argument>
inline constexpr bool kIsWritten =
    !std::is_const_v<Argument> || std::is_same_v<std::remove_const_t<Argument>, std::vector<SgdItem>>;

/// The argument with make(tensor) in the place of each tensor.
template <typename Argument, typename Make>
std::remove_const_t<Argument> with_tensors(Argument& argument, Make&& make) {
  std::remove_const_t<Argument> result = argument;
  for_each_tensor(result, [&](Tensor& tensor) { tensor = make(tensor); });
  return result;
}

/// Calls use(tensor of one, tensor of other) for each, of two arguments with tensors in the same places.
template <typename One, typename Other, typename Use>
void for_each_pair(One& one, Other& other, Use&& use) {
  std::vector<Tensor> others;
  for_each_tensor(other, [&](const Tensor& tensor) { others.push_back(tensor); });
  auto next = others.begin();
  for_each_tensor(one, [&](auto& tensor) { use(tensor, *next++); });
}

}  // namespace apotnet
