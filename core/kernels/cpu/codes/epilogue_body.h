// The epilogues of epilogue.h over a `Vector` of the instruction set: kLanes floats or 32-bit integers and 4 * kLanes
// bytes. Four vectors of one or several pixels are computed together, since look-ups want whole vectors of bytes. No
// #pragma once: included inside a namespace of each file.

constexpr int64_t kStep = 4 * Vector::kLanes;

// The look-ups of a CodeTable of up to 16 * Parts entries, kept in registers. A byte shuffle looks up 16 entries: m XOR
// the first of a part is below 16 in its own part alone, and the saturating addition of 0x70 sets the top bit of every
// other, for which the shuffle gives 0.
template <int Parts>
struct Look {
  using Bytes = Vector::Bytes;

  explicit Look(const CodeTable& table) : top(Vector::all_bytes(table.top)) {
#pragma GCC unroll 16
    for (int part = 0; part < Parts; ++part) parts[part] = Vector::repeat_16(table.code + 16 * part);
  }

  // Half steps, of which negative ones are 0 and those above the top are the top, to codes.
  Bytes codes_of(const Vector::Ints (&m)[4]) const {
    const Bytes clamped = Vector::min_bytes(Vector::pack(m), top);
    Bytes codes = Vector::all_bytes(0);
#pragma GCC unroll 16
    for (int part = 0; part < Parts; ++part) {
      const Bytes inside = Vector::exclusive_or(clamped, Vector::all_bytes(16 * part));
      codes = Vector::exclusive_or(codes, Vector::shuffle(parts[part], Vector::add_saturated(inside, 0x70)));
    }
    return codes;
  }

  Bytes top;
  Bytes parts[Parts];
};

// The same for uniform levels, by arithmetic.
struct Halve {
  explicit Halve(const CodeTable& table) : top(Vector::all_bytes(table.top / 2)) {}
  Vector::Bytes codes_of(const Vector::Ints (&m)[4]) const {
    Vector::Ints halves[4];
    for (int i = 0; i < 4; ++i) halves[i] = Vector::half_rounded_up(m[i]);
    return Vector::min_bytes(Vector::pack(halves), top);
  }
  Vector::Bytes top;
};

// body(Look) with the number of parts as a constant: those of 2, 3, 4 and 5 bits exactly, others rounded up.
template <typename Body>
inline void with_look(const CodeTable& table, const Body& body) {
  if (table.every_integer) return body(Halve(table));
  if (table.top < 16) return body(Look<1>(table));
  if (table.top < 32) return body(Look<2>(table));
  if (table.top < 112) return body(Look<7>(table));
  if (table.top < 208) return body(Look<13>(table));
  return body(Look<16>(table));
}

// body(first element, channels of the four vectors) for all elements of [pixels][channels], kStep at a time; the last
// step may overlap the one before.
template <typename Body>
inline void for_each_step(int64_t pixels, int64_t channels, const Body& body) {
  const int64_t total = pixels * channels, advance = kStep % channels;
  int64_t channel[4];
  for (int i = 0; i < 4; ++i) channel[i] = Vector::kLanes * i % channels;
  for (int64_t first = 0; first + kStep <= total; first += kStep) {
    body(first, channel);
    for (int i = 0; i < 4 && advance != 0; ++i)
      channel[i] += channel[i] + advance < channels ? advance : advance - channels;
  }
  if (total % kStep == 0) return;
  for (int i = 0; i < 4; ++i) channel[i] = (total - kStep + Vector::kLanes * i) % channels;
  body(total - kStep, channel);
}

void codes_epilogue(const CodesEpilogue& given) {
  const CodesEpilogue e = given;  // a copy that no store can alias
  const bool dense = e.padded_channels == e.channels && e.pixel_stride == e.channels;
  if (!e.factor || e.channels % 16 != 0 || !dense || e.pixels * e.channels < kStep || !e.table->in_vectors())
    return generic_epilogues().codes(e);
  with_look(*e.table, [&](const auto& look) {
    for_each_step(e.pixels, e.channels, [&](int64_t first, const int64_t(&channel)[4]) {
      Vector::Ints m[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i)
        m[i] = Vector::truncate(Vector::multiply_add(Vector::load_sums(e.sums + first + Vector::kLanes * i),
                                                     Vector::load(e.factor + channel[i]),
                                                     Vector::load(e.offset + channel[i])));
      Vector::store_bytes(e.codes + first, look.codes_of(m));
    });
  });
}

template <bool Sums, bool Norm, bool Shortcut>
inline void values_of_step(const ValuesEpilogue& e, int64_t first, const int64_t (&channel)[4],
                           Vector::Floats (&value)[4]) {
  const auto step = Vector::all(e.step), least = Vector::all(e.relu ? 0.0f : -__builtin_inff());
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const int64_t at = first + Vector::kLanes * i;
    auto v = Sums ? Vector::multiply(Vector::load_sums(e.sums + at), step) : Vector::load(e.y + at);
    if (Norm)
      v = Vector::add(Vector::multiply(v, Vector::load(e.scale + channel[i])), Vector::load(e.shift + channel[i]));
    if (Shortcut) v = Vector::add(v, Vector::load(e.shortcut + at));
    value[i] = Vector::max(least, v);
    if (e.values) Vector::store(e.values + at, value[i]);
  }
}

template <typename Look>
inline void quantize_step(const QuantizeTarget& target, const Look& look, int64_t first,
                          const Vector::Floats (&value)[4]) {
  const auto alpha = Vector::all(target.alpha), top = Vector::all(static_cast<float>(target.table->top));
  const auto minus_one = Vector::all(-1);
  Vector::Ints m[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const auto above_zero = Vector::max(Vector::divide(value[i], alpha), Vector::all(0));  // a NaN takes level 0
    const auto z = Vector::min(above_zero, Vector::all(1));
    m[i] = Vector::truncate(Vector::multiply(z, top));
    // The product may have been rounded up to m, as half_steps() says.
    const auto minus_m = Vector::multiply(Vector::to_floats(m[i]), minus_one);
    m[i] = Vector::less_one_where_negative(m[i], Vector::multiply_add(z, top, minus_m));
  }
  Vector::store_bytes(target.codes + first, look.codes_of(m));
}

template <bool Sums, bool Norm, bool Shortcut>
void values_epilogue_of(const ValuesEpilogue& given) {
  const ValuesEpilogue e = given;
  if (e.target_count == 0)
    return for_each_step(e.pixels, e.channels, [&](int64_t first, const int64_t(&channel)[4]) {
      Vector::Floats value[4];
      values_of_step<Sums, Norm, Shortcut>(e, first, channel, value);
    });
  with_look(*e.targets[0].table, [&](const auto& look) {
    for_each_step(e.pixels, e.channels, [&](int64_t first, const int64_t(&channel)[4]) {
      Vector::Floats value[4];
      values_of_step<Sums, Norm, Shortcut>(e, first, channel, value);
      for (int t = 0; t < e.target_count; ++t) quantize_step(e.targets[t], look, first, value);
    });
  });
}

void values_epilogue(const ValuesEpilogue& e) {
  bool fits = (e.scale || !e.shortcut) && e.channels % 16 == 0 && e.padded_channels == e.channels &&
              e.pixels * e.channels >= kStep;
  for (int t = 0; t < e.target_count; ++t)
    fits = fits && e.targets[t].pixel_stride == e.channels && e.targets[t].table->in_vectors() &&
           e.targets[t].table == e.targets[0].table && !e.targets[t].has_sign;
  if (!fits) return generic_epilogues().values(e);
  if (!e.scale)
    e.sums ? values_epilogue_of<true, false, false>(e) : values_epilogue_of<false, false, false>(e);
  else if (e.sums)
    e.shortcut ? values_epilogue_of<true, true, true>(e) : values_epilogue_of<true, true, false>(e);
  else
    e.shortcut ? values_epilogue_of<false, true, true>(e) : values_epilogue_of<false, true, false>(e);
}
