/* The C ABI between Injerto and a backbone plugin, version 1.0.
 *
 * A plugin is a shared library that exports one symbol, injerto_plugin_entry. It describes networks as JSON; the host
 * builds, freezes, trains and runs them. Rules:
 *  - The table is static and lives as long as the process; a library is never unloaded.
 *  - Fields are only ever appended. Either side reads a field only if `size` covers it. A null function means "not
 *    offered".
 *  - Output goes into a sink that the host passes in; nothing is allocated on one side and freed on the other.
 *  - A text is a pointer and a length. It is UTF-8, without a zero byte at the end. Arguments are valid during the call only.
 *  - Every function may be called from any thread, and from several threads at once.
 * The crate's CHANGELOG.md says what changed when. A test keeps this file equal to src/table.rs. */
#ifndef INJERTO_PLUGIN_H
#define INJERTO_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* "INJERTO1", with the first byte lowest. */
#define INJERTO_MAGIC UINT64_C(0x314f5452454a4e49)
#define INJERTO_ABI_MAJOR 1
#define INJERTO_ABI_MINOR 0
#define INJERTO_WEIGHTS_EXTENSION "injerto.weights/1"

#if defined(_WIN32)
#define INJERTO_EXPORT __declspec(dllexport)
#else
#define INJERTO_EXPORT __attribute__((visibility("default")))
#endif

/* The result of a call. Anything but INJERTO_OK is a failure, with a text in the error sink. */
typedef int32_t injerto_status;
#define INJERTO_OK 0
#define INJERTO_FAILED 1
#define INJERTO_NOT_FOUND 2
#define INJERTO_BAD_PARAMETERS 3
#define INJERTO_SINK_FULL 4
#define INJERTO_PANICKED 5

/* UTF-8 text. */
typedef struct injerto_str {
  const uint8_t *ptr;
  size_t len;
} injerto_str;

/* The place for output. `write` copies the bytes before it returns. If it returns anything but INJERTO_OK, write no more
* and return that status. */
typedef struct injerto_sink {
  void *context;
  injerto_status (*write)(void *context, const uint8_t *data, size_t len);
} injerto_sink;

typedef struct injerto_table {
  uint64_t magic;     /* INJERTO_MAGIC. Since 1.0. */
  size_t size;        /* sizeof(injerto_table) as compiled. Since 1.0. */
  uint32_t abi_major; /* INJERTO_ABI_MAJOR. Since 1.0. */
  uint32_t abi_minor; /* INJERTO_ABI_MINOR. Since 1.0. */
  injerto_str name;   /* Name of the library. Since 1.0. */
  injerto_str version; /* Version of the library. Since 1.0. */
  /* Writes a JSON array of descriptors; builds no network. Must be offered. Since 1.0. */
  injerto_status (*descriptors)(injerto_sink out, injerto_sink error);
  /* Writes the JSON description of one backbone for a JSON object of parameters. Must be offered. Since 1.0. */
  injerto_status (*describe)(injerto_str name, injerto_str parameters, injerto_sink out, injerto_sink error);
  /* Reserved. Leave it null; no host calls it. Since 1.0. */
  injerto_status (*score)(injerto_str name, injerto_str machine, uint32_t *score);
  /* Returns the table of an extension, or null. Since 1.0. */
  const void *(*extension)(injerto_str id);
} injerto_table;

/* The extension INJERTO_WEIGHTS_EXTENSION: weight files that the library carries. */
typedef struct injerto_weights_extension {
  size_t size; /* sizeof(injerto_weights_extension) as compiled. */
  injerto_status (*read)(injerto_str id, injerto_sink out, injerto_sink error);
} injerto_weights_extension;

/* The one exported symbol. It returns the same pointer every time, which is never null. */
INJERTO_EXPORT const injerto_table *injerto_plugin_entry(void);

#ifdef __cplusplus
}
#endif

#endif /* INJERTO_PLUGIN_H */
