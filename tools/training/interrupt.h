#pragma once

namespace apotnet {

/// From now on SIGINT and SIGTERM are remembered instead of ending the program; a second one ends it at once.
void watch_for_interrupt();
/// From now on they end the program as ever.
void stop_watching();
/// 0, or the signal that arrived.
int interrupted();

/// Ends long work that a signal came into, and that is made again.
struct Interrupted {};
/// Throws Interrupted where a signal has arrived.
void stop_if_interrupted();

}  // namespace apotnet
