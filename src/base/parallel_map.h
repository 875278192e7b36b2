#pragma once
// for_each_index over a few threads; the result does not depend on how many.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace shardwise {

/// 0 = one per core.
inline unsigned thread_count(unsigned threads) {
  return threads > 0 ? threads : std::max(1u, std::thread::hardware_concurrency());
}

/// Calls f(thread, i) for every i in [0, count), on up to `threads` threads (0 = one per core) that are numbered from
/// 0, so that each may keep something. Each index must write only what belongs to it. The exception of the lowest
/// failing index is rethrown after all threads have stopped. Where the system gives fewer threads, those do all.
template <class F>
void parallel_for_threads(std::size_t count, unsigned threads, F&& f) {
  threads = static_cast<unsigned>(std::min<std::size_t>(thread_count(threads), count));
  if (threads <= 1) {
    for (std::size_t i = 0; i < count; ++i) f(0u, i);
    return;
  }
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  std::size_t error_index = count;
  auto work = [&](unsigned thread) {
    for (std::size_t i; (i = next.fetch_add(1)) < count;) {
      try {
        f(thread, i);
      } catch (...) {
        std::lock_guard lock(mutex);
        if (i < error_index) error = std::current_exception(), error_index = i;
      }
    }
  };
  std::vector<std::thread> pool;
  pool.reserve(threads - 1);
  for (unsigned t = 1; t < threads; ++t) {
    try {
      pool.emplace_back(work, t);
    } catch (const std::system_error&) {  // no more to be had: those that run do all
      break;
    }
  }
  work(0);
  for (auto& t : pool) t.join();
  if (error) std::rethrow_exception(error);
}

/// The same with f(i).
template <class F>
void parallel_for(std::size_t count, unsigned threads, F&& f) {
  parallel_for_threads(count, threads, [&](unsigned, std::size_t i) { f(i); });
}

}  // namespace shardwise
