#include "config/hub.h"

#include <curl/curl.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>

#include "base/input_error.h"
#include "base/text.h"

namespace shardwise {
namespace {

constexpr std::size_t kLargestFile = 32u << 20;  // a config.json of the largest quantised model is about 1 MiB

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool truthy(const std::string& value) {
  const auto word = to_lower(value);
  return word == "1" || word == "true" || word == "yes" || word == "on";
}

std::size_t append(char* data, std::size_t size, std::size_t count, void* out) {
  auto& text = *static_cast<std::string*>(out);
  if (text.size() + size * count > kLargestFile) return 0;
  text.append(data, size * count);
  return size * count;
}

}  // namespace

std::string hf_cache_dir() {
  if (auto dir = environment("HF_HUB_CACHE"); !dir.empty()) return dir;
  if (const auto home = environment("HF_HOME"); !home.empty()) return home + "/hub";
  if (const auto cache = environment("XDG_CACHE_HOME"); !cache.empty()) return cache + "/huggingface/hub";
  if (const auto home = environment("HOME"); !home.empty()) return home + "/.cache/huggingface/hub";
  return "";
}

std::optional<std::string> hf_cached_snapshot(const std::string& cache_dir, const std::string& repo, TextSource& disk) {
  const auto slash = repo.find('/');
  if (cache_dir.empty() || slash == std::string::npos || repo.find('/', slash + 1) != std::string::npos)
    return std::nullopt;
  const std::string base = cache_dir + "/models--" + repo.substr(0, slash) + "--" + repo.substr(slash + 1);
  if (const auto ref = disk.read(base + "/refs/main")) {
    std::string snapshot = base + "/snapshots/" + std::string(trim(*ref));
    if (disk.read(snapshot + "/config.json")) return snapshot;
  }
  std::error_code ignored;
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(base + "/snapshots", ignored))
    if (disk.read(entry.path().string() + "/config.json")) found.push_back(entry.path().string());
  if (found.empty()) return std::nullopt;
  return *std::min_element(found.begin(), found.end());
}

HubOptions hub_options_from_environment() {
  HubOptions options;
  if (auto endpoint = environment("HF_ENDPOINT"); !endpoint.empty()) options.endpoint = endpoint;
  while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
  options.token = environment("HF_TOKEN");
  if (options.token.empty()) options.token = environment("HUGGING_FACE_HUB_TOKEN");
  options.offline = truthy(environment("HF_HUB_OFFLINE"));
  return options;
}

std::optional<std::string> HubSource::read(const std::string& name) {
  const auto file_at = name.rfind('/');
  if (file_at == std::string::npos || file_at == 0)
    throw InputError(name, 0, "", "is not a file of a repository", "write org/name/config.json");
  const std::string repo = name.substr(0, file_at), file = name.substr(file_at + 1);
  if (options_.offline)
    throw InputError(repo, 0, "", "is not in the local cache, and HF_HUB_OFFLINE forbids asking the hub",
                     "unset HF_HUB_OFFLINE, or give a directory with its config.json");
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), &curl_easy_cleanup);
  if (!curl) throw InputError(repo, 0, "", "cannot be asked for: libcurl does not start");
  const std::string url = options_.endpoint + "/" + repo + "/resolve/main/" + file,
                    bearer = "Authorization: Bearer " + options_.token;
  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(nullptr, &curl_slist_free_all);
  if (!options_.token.empty()) headers.reset(curl_slist_append(nullptr, bearer.c_str()));
  std::string body;
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, options_.timeout_seconds);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, 8L);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_USERAGENT, "shardwise");
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &append);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &body);
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK)
    throw InputError(repo, 0, "",
                     std::string("the hub at ") + options_.endpoint + " cannot be reached: " + curl_easy_strerror(code),
                     "give a directory with its config.json, or a bundled name (shardwise models)");
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status == 404) return std::nullopt;
  if (status == 401 || status == 403) {
    // The hub answers 401 for repositories that do not exist, too.
    throw InputError(repo, 0, "",
                     "the hub refuses access (HTTP " + std::to_string(status) +
                         "): the repository is gated, private or does not exist",
                     options_.token.empty() ? "set HF_TOKEN, or check the name" : "check that HF_TOKEN may read it");
  }
  if (status != 200) throw InputError(repo, 0, "", "the hub answers HTTP " + std::to_string(status) + " for " + url);
  return body;
}

}  // namespace shardwise
