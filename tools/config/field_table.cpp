#include "data/registry.h"
#include "models/registry.h"
#include "tools/config/schema.h"

namespace apotnet {
namespace {

#define RUN_FIELD(member) [](RunConfig& run, StageConfig&) -> FieldTarget { return &run.member; }
#define STAGE_FIELD(member) [](RunConfig&, StageConfig& stage) -> FieldTarget { return &stage.member; }

const double kLargestSeed = 9007199254740992.0;  // 2^53: exact in JSON whatever reads it

std::vector<Field> model_fields() {
  return {
      {.path = "model.name", .target = RUN_FIELD(model.name), .choices = model_names(), .unit = "", .help = "Network"},
      {.path = "model.zero_init_residual",
       .target = RUN_FIELD(model.zero_init_residual),
       .unit = "",
       .help = "Whether the last batch norm of each residual block starts at 0, so that blocks begin as identities"}};
}

std::vector<Field> data_fields() {
  return {
      {.path = "data.name", .target = RUN_FIELD(data.name), .choices = dataset_names(), .unit = "", .help = "Data set"},
      {.path = "data.root",
       .target = RUN_FIELD(data.root),
       .free_on_resume = true,
       .unit = "",
       .help = "Folder of the data; empty: APOTNET_DATA, else the user's cache folder"},
      {.path = "data.batch",
       .target = RUN_FIELD(data.batch),
       .low = 1,
       .high = 65536,
       .unit = "images",
       .help = "Images per step; the last step of an epoch may have fewer"},
      {.path = "data.accumulate",
       .target = RUN_FIELD(data.accumulate),
       .low = 1,
       .high = 65536,
       .unit = "parts",
       .help =
           "Each batch goes through the network in so many equal parts, whose gradients are added: for batches that do "
           "not fit the memory. Batch norm sees the parts"},
      {.path = "data.ghost_batch",
       .target = RUN_FIELD(data.ghost_batch),
       .low = 0,
       .high = 65536,
       .unit = "images",
       .help =
           "Batch norm takes its statistics of sub-batches of so many images, the running ones of the first, as the "
           "authors' run on 2 GPUs did with 64; 0: of the whole batch"},
      {.path = "data.augment",
       .target = RUN_FIELD(data.augment),
       .choices = {"pad_crop", "flip", "random_crop", "random_resized_crop"},
       .unit = "",
       .help = "Random changes of training images; the last two are for data sets of larger pictures (imagenet)"},
      {.path = "data.validation",
       .target = RUN_FIELD(data.validation),
       .low = 0,
       .high = 1e6,
       .unit = "images",
       .help = "Training images held out to choose the best epoch; 0: choose on the test set, as the reference did"},
      {.path = "data.workers",
       .target = RUN_FIELD(data.workers),
       .low = 1,
       .high = 64,
       .free_on_resume = true,
       .unit = "threads",
       .help = "Threads that prepare batches"},
      {.path = "data.train_limit",
       .target = RUN_FIELD(data.train_limit),
       .low = 0,
       .high = 1e9,
       .unit = "images",
       .help = "Only the first images of the training split; 0: all"},
      {.path = "data.test_limit",
       .target = RUN_FIELD(data.test_limit),
       .low = 0,
       .high = 1e9,
       .unit = "images",
       .help = "Only the first images of the test split; 0: all"},
      {.path = "data.train_count",
       .target = RUN_FIELD(data.train_count),
       .low = 10,
       .high = 1e6,
       .unit = "images",
       .help = "Size of a generated training split (shapes10)"},
      {.path = "data.test_count",
       .target = RUN_FIELD(data.test_count),
       .low = 10,
       .high = 1e6,
       .unit = "images",
       .help = "Size of a generated test split (shapes10)"},
      {.path = "data.image_size",
       .target = RUN_FIELD(data.image_size),
       .low = 32,
       .high = 1024,
       .unit = "pixels",
       .help = "Side of the images that are cut out of pictures (imagenet)"},
      {.path = "data.resized_side",
       .target = RUN_FIELD(data.resized_side),
       .low = 32,
       .high = 1024,
       .unit = "pixels",
       .help = "Shorter side that pictures are resized to before the cut (imagenet)"},
      {.path = "data.damaged",
       .target = RUN_FIELD(data.damaged),
       .choices = {"error", "replace"},
       .unit = "",
       .help = "A picture that cannot be decoded ends the run, or another one of its class stands for it (imagenet)"},
      {.path = "data.other_files",
       .target = RUN_FIELD(data.other_files),
       .choices = {"skip", "error"},
       .unit = "",
       .help = "Files in class folders that are no pictures are left out, or end the run (imagenet)"}};
}

std::vector<Field> quant_fields() {
  return {
      {.path = "quant.method",
       .target = RUN_FIELD(quant.method),
       .choices = {"apot", "pot", "uniform"},
       .unit = "",
       .help = "How levels are spaced"},
      {.path = "quant.variant",
       .target = RUN_FIELD(quant.variant),
       .choices = {"cifar", "imagenet"},
       .unit = "",
       .help = "Which of the two published quantizers"},
      {.path = "quant.rcf",
       .target = RUN_FIELD(quant.rcf),
       .unit = "",
       .help = "Whether clipping is reparameterized, so that all values teach the thresholds; false: only the clipped"},
      {.path = "quant.weight_norm",
       .target = RUN_FIELD(quant.weight_norm),
       .unit = "",
       .help =
           "Whether weights are normalised before they are quantized; false: raw weights, whose threshold starts at "
           "3 of their standard deviations"},
      {.path = "quant.first_last",
       .target = RUN_FIELD(quant.first_last),
       .choices = {"apot-compat", "absmax8", "float"},
       .unit = "",
       .help = "How the first and the last layer round their weights to 8 bits"},
      {.path = "quant.grad_scale",
       .target = RUN_FIELD(quant.grad_scale),
       .low = 0,
       .high = 1,
       .low_open = true,
       .unit = "",
       .help = "Factor on the gradients of the clipping thresholds (imagenet variant)"}};
}

std::vector<Field> optimizer_fields() {
  return {{.path = "optimizer.momentum",
           .target = RUN_FIELD(optimizer.momentum),
           .low = 0,
           .high = 1,
           .high_open = true,
           .unit = "",
           .help = "Momentum of SGD"},
          {.path = "optimizer.weight_alpha_lr",
           .target = RUN_FIELD(optimizer.weight_alpha_lr),
           .low = 0,
           .high = 10,
           .low_open = true,
           .unit = "",
           .help = "Learning rate of the weights' thresholds (cifar variant)"},
          {.path = "optimizer.activation_alpha_lr",
           .target = RUN_FIELD(optimizer.activation_alpha_lr),
           .low = 0,
           .high = 10,
           .low_open = true,
           .unit = "",
           .help = "Learning rate of the activations' thresholds (cifar variant)"},
          {.path = "optimizer.alpha_weight_decay",
           .target = RUN_FIELD(optimizer.alpha_weight_decay),
           .low = 0,
           .high = 1,
           .unit = "",
           .help = "Weight decay of all thresholds (cifar variant)"}};
}

std::vector<Field> other_fields() {
  return {{.path = "checkpoint.every_steps",
           .target = RUN_FIELD(checkpoint.every_steps),
           .low = 0,
           .high = 1e9,
           .free_on_resume = true,
           .unit = "steps",
           .help = "Also saves last inside an epoch, after every so many steps; 0: at the end of each epoch only"},
          {.path = "seed",
           .target = RUN_FIELD(seed),
           .low = 0,
           .high = kLargestSeed,
           .unit = "",
           .help = "Of every random number of the run"}};
}

std::vector<Field> stage_fields() {
  return {
      {.path = "stages.*.name",
       .target = STAGE_FIELD(name),
       .unit = "",
       .help = "Name, for messages and checkpoints",
       .default_text = "stage1, stage2, ..."},
      // Sets both widths; resolved configurations show the two below.
      {.path = "stages.*.bits",
       .target = STAGE_FIELD(weight_bits),
       .low = 2,
       .high = 32,
       .unit = "bits",
       .help = "Width of weights and activations, 2 to 8, or 32: not quantized. Up to 5 bits of apot, 3 of pot and 8 "
               "of uniform are convolved as integers, wider codes in float32"},
      {.path = "stages.*.weight_bits",
       .target = STAGE_FIELD(weight_bits),
       .low = 2,
       .high = 32,
       .unit = "bits",
       .help = "Width of the weights where it differs from bits",
       .default_text = "that of bits"},
      {.path = "stages.*.activation_bits",
       .target = STAGE_FIELD(activation_bits),
       .low = 2,
       .high = 32,
       .unit = "bits",
       .help = "Width of the activations where it differs from bits",
       .default_text = "that of bits"},
      {.path = "stages.*.epochs",
       .target = STAGE_FIELD(epochs),
       .low = 1,
       .high = 100000,
       .required = true,
       .unit = "epochs",
       .help = "Length of the stage"},
      {.path = "stages.*.lr",
       .target = STAGE_FIELD(lr),
       .low = 0,
       .high = 10,
       .low_open = true,
       .required = true,
       .unit = "",
       .help = "Learning rate at the start"},
      {.path = "stages.*.weight_decay",
       .target = STAGE_FIELD(weight_decay),
       .low = 0,
       .high = 1,
       .unit = "",
       .help = "Weight decay of everything, in the cifar variant of everything but the thresholds"},
      {.path = "stages.*.schedule",
       .target = STAGE_FIELD(schedule),
       .choices = {"milestones", "cosine", "constant"},
       .unit = "",
       .help = "How the learning rates fall"},
      {.path = "stages.*.milestones",
       .target = STAGE_FIELD(milestones),
       .low = 1,
       .high = 100000,
       .unit = "epochs",
       .help = "After how many epochs the learning rates are multiplied by gamma"},
      {.path = "stages.*.gamma",
       .target = STAGE_FIELD(gamma),
       .low = 0,
       .high = 1,
       .low_open = true,
       .unit = "",
       .help = "Factor at each milestone"},
      {.path = "stages.*.warmup_epochs",
       .target = STAGE_FIELD(warmup_epochs),
       .low = 0,
       .high = 1000,
       .unit = "epochs",
       .help = "Linear rise of the learning rates at the start"},
      {.path = "stages.*.label_smoothing",
       .target = STAGE_FIELD(label_smoothing),
       .low = 0,
       .high = 1,
       .high_open = true,
       .unit = "",
       .help = "Share of each label that is spread over all classes"},
      {.path = "stages.*.init",
       .target = STAGE_FIELD(init),
       .choices = {"last", "best"},
       .unit = "",
       .help = "Which weights of the stage before this one starts from"}};
}

#undef RUN_FIELD
#undef STAGE_FIELD

}  // namespace

std::span<const Field> fields() {
  static const std::vector<Field> all = [] {
    std::vector<Field> result;
    for (const auto& group :
         {model_fields(), data_fields(), quant_fields(), optimizer_fields(), other_fields(), stage_fields()})
      result.insert(result.end(), group.begin(), group.end());
    return result;
  }();
  return all;
}

}  // namespace apotnet
