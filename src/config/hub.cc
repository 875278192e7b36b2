#include "config/hub.h"

#include <curl/curl.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>

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

/// libcurl, loaded when a model is first fetched: it brings thirty libraries that planning never needs.
struct Curl {
  decltype(&curl_global_init) global_init;
  decltype(&curl_easy_init) easy_init;
  decltype(&curl_easy_setopt) easy_setopt;
  decltype(&curl_easy_perform) easy_perform;
  decltype(&curl_easy_getinfo) easy_getinfo;
  decltype(&curl_easy_strerror) easy_strerror;
  decltype(&curl_easy_cleanup) easy_cleanup;
  decltype(&curl_slist_append) slist_append;
  decltype(&curl_slist_free_all) slist_free_all;
};

/// nullopt if this machine has no libcurl.
std::optional<Curl> load_curl() {
  void* library = nullptr;
  for (const char* name : {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl.so"})
    if (!library) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library) return std::nullopt;
  bool complete = true;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    complete = complete && function;
  };
  Curl c{};
  find(c.global_init, "curl_global_init"), find(c.easy_init, "curl_easy_init");
  find(c.easy_setopt, "curl_easy_setopt"), find(c.easy_perform, "curl_easy_perform");
  find(c.easy_getinfo, "curl_easy_getinfo"), find(c.easy_strerror, "curl_easy_strerror");
  find(c.easy_cleanup, "curl_easy_cleanup"), find(c.slist_append, "curl_slist_append");
  find(c.slist_free_all, "curl_slist_free_all");
  if (!complete) return std::nullopt;
  c.global_init(CURL_GLOBAL_DEFAULT);
  return c;
}

/// https://user:secret@host/path?key -> https://host/path
std::string without_credentials(const std::string& url) {
  const auto scheme = url.find("://");
  const auto host = scheme == std::string::npos ? 0 : scheme + 3;
  const auto end = std::min(url.find_first_of("/?#", host), url.size());
  const auto at = url.substr(0, end).rfind('@');
  const auto shown = at != std::string::npos && at >= host ? url.substr(0, host) + url.substr(at + 1) : url;
  return shown.substr(0, shown.find_first_of("?#"));
}

}  // namespace

std::string hf_cache_dir() {
  if (auto dir = environment("HF_HUB_CACHE"); !dir.empty()) return dir;
  if (const auto home = environment("HF_HOME"); !home.empty()) return home + "/hub";
  if (const auto cache = environment("XDG_CACHE_HOME"); !cache.empty()) return cache + "/huggingface/hub";
  if (const auto home = environment("HOME"); !home.empty()) return home + "/.cache/huggingface/hub";
  return "";
}

std::optional<std::string> hf_snapshot_in(const std::string& folder, TextSource& disk) {
  const auto holds_config = [&](const std::string& snapshot) {
    return disk.read(snapshot + "/config.json") || disk.read(snapshot + "/params.json");
  };
  if (const auto ref = disk.read(folder + "/refs/main")) {
    std::string snapshot = folder + "/snapshots/" + std::string(trim(*ref));
    if (holds_config(snapshot)) return snapshot;
  }
  std::error_code ignored;
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/snapshots", ignored))
    if (holds_config(entry.path().string())) found.push_back(entry.path().string());
  if (found.empty()) return std::nullopt;
  return *std::min_element(found.begin(), found.end());
}

std::optional<std::string> hf_cached_snapshot(const std::string& cache_dir, const std::string& repo, TextSource& disk) {
  const auto slash = repo.find('/');
  if (cache_dir.empty() || slash == std::string::npos || repo.find('/', slash + 1) != std::string::npos)
    return std::nullopt;
  return hf_snapshot_in(cache_dir + "/models--" + repo.substr(0, slash) + "--" + repo.substr(slash + 1), disk);
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
  static const std::optional<Curl> api = load_curl();
  if (!api)
    throw InputError(repo, 0, "", "cannot be fetched: this machine has no libcurl (libcurl.so.4)",
                     "install libcurl4, or give a directory with its config.json");
  const std::unique_ptr<CURL, decltype(api->easy_cleanup)> curl(api->easy_init(), api->easy_cleanup);
  if (!curl) throw InputError(repo, 0, "", "cannot be asked for: libcurl does not start");
  const std::string url = options_.endpoint + "/" + repo + "/resolve/main/" + file,
                    bearer = "Authorization: Bearer " + options_.token;
  std::unique_ptr<curl_slist, decltype(api->slist_free_all)> headers(nullptr, api->slist_free_all);
  if (!options_.token.empty()) headers.reset(api->slist_append(nullptr, bearer.c_str()));
  std::string body;
  api->easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  api->easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  api->easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 1L);
  api->easy_setopt(curl.get(), CURLOPT_MAXREDIRS, 5L);
  api->easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  api->easy_setopt(curl.get(), CURLOPT_TIMEOUT, options_.timeout_seconds);
  api->easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, 8L);
  api->easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  api->easy_setopt(curl.get(), CURLOPT_USERAGENT, "shardwise");
  api->easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &append);
  api->easy_setopt(curl.get(), CURLOPT_WRITEDATA, &body);
  const CURLcode code = api->easy_perform(curl.get());
  if (code != CURLE_OK)
    throw InputError(
        repo, 0, "",
        "the hub at " + without_credentials(options_.endpoint) + " cannot be reached: " + api->easy_strerror(code),
        "give a directory with its config.json, or a bundled name (shardwise models)");
  long status = 0;
  api->easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status == 404) return std::nullopt;
  if (status == 401 || status == 403) {
    // The hub answers 401 for repositories that do not exist, too.
    throw InputError(repo, 0, "",
                     "the hub refuses access (HTTP " + std::to_string(status) +
                         "): the repository is gated, private or does not exist",
                     options_.token.empty() ? "set HF_TOKEN, or check the name" : "check that HF_TOKEN may read it");
  }
  if (status != 200)
    throw InputError(repo, 0, "",
                     "the hub answers HTTP " + std::to_string(status) + " for " + without_credentials(url));
  return body;
}

}  // namespace shardwise
