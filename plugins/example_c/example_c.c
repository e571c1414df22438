/* A backbone written in C: one convolution of four fixed filters and one pooling layer.
 *
 * It shows everything that a plugin may offer: descriptors, a description with parameters, and weights that the library
 * carries. `cc` builds it; it needs nothing but injerto_plugin.h and the C library. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "injerto_plugin.h"

#define NAME "example_c"
#define WEIGHTS "edges"
#define FILTERS 4

/* --- text ---------------------------------------------------------------------------------------------------------- */

#define TEXT(literal) { (const uint8_t *)(literal), sizeof(literal) - 1 }

static bool equal(injerto_str text, const char *word) {
  return text.len == strlen(word) && memcmp(text.ptr, word, text.len) == 0;
}

static injerto_status say(injerto_sink sink, const char *text) {
  return sink.write(sink.context, (const uint8_t *)text, strlen(text));
}

static injerto_status refuse(injerto_sink error, injerto_status status, const char *text) {
  say(error, text);
  return status;
}

/* --- parameters ---------------------------------------------------------------------------------------------------- */

/* The rest of a text that is being read. */
typedef struct cursor {
  const uint8_t *at, *end;
} cursor;

/* Takes `c`, which may follow spaces. */
static bool take(cursor *text, char c) {
  while (text->at < text->end && strchr(" \t\r\n", *text->at) && *text->at) text->at++;
  if (text->at == text->end || *text->at != (uint8_t)c) return false;
  text->at++;
  return true;
}

/* Takes a number of pixels. */
static bool pixels(cursor *text, unsigned *number) {
  take(text, '\0'); /* skips spaces only, because no JSON contains a zero byte */
  const uint8_t *first = text->at;
  for (*number = 0; text->at < text->end && *text->at >= '0' && *text->at <= '9' && *number < 100000; text->at++)
    *number = *number * 10 + (unsigned)(*text->at - '0');
  return text->at > first && *number >= 2 && *number <= 16384;
}

/* Reads `{}` or `{"input_shape": [H, W]}`. Anything else is refused, so that a misspelt parameter is noticed. */
static bool read_parameters(injerto_str json, unsigned *height, unsigned *width) {
  static const char key[] = "\"input_shape\"";
  cursor text = {json.ptr, json.ptr + json.len};
  if (!take(&text, '{')) return false;
  if (!take(&text, '}')) {
    take(&text, '\0');
    if ((size_t)(text.end - text.at) < sizeof(key) - 1 || memcmp(text.at, key, sizeof(key) - 1) != 0) return false;
    text.at += sizeof(key) - 1;
    if (!take(&text, ':') || !take(&text, '[') || !pixels(&text, height) || !take(&text, ',') || !pixels(&text, width) ||
        !take(&text, ']') || !take(&text, '}'))
      return false;
  }
  take(&text, '\0');
  return text.at == text.end;
}

/* --- the backbone -------------------------------------------------------------------------------------------------- */

static injerto_status descriptors(injerto_sink out, injerto_sink error) {
  (void)error;
  return say(out, "[{\"name\": \"" NAME "\", \"summary\": \"edges and brightness, the backbone of the C example\","
                  " \"parameters\": {\"input_shape\": {\"default\": [32, 32],"
                  " \"doc\": \"height and width of the images\"}}, \"weights\": [\"" WEIGHTS "\"]}]");
}

static injerto_status describe(injerto_str name, injerto_str parameters, injerto_sink out, injerto_sink error) {
  unsigned height = 32, width = 32;
  char graph[1024];
  if (!equal(name, NAME)) return refuse(error, INJERTO_NOT_FOUND, "no such backbone in this library (it has '" NAME "')");
  if (!read_parameters(parameters, &height, &width))
    return refuse(error, INJERTO_BAD_PARAMETERS,
                  "parameters must be {} or {\"input_shape\": [height, width]}, each side 2 to 16384");
  snprintf(graph, sizeof graph,
           "{\"graph\": {\"name\": \"" NAME "\", \"layers\": ["
           "{\"name\": \"input_1\", \"class\": \"InputLayer\", \"config\": {\"shape\": [%u, %u, 3]}},"
           "{\"name\": \"edges\", \"class\": \"Conv2D\", \"config\": {\"filters\": %d, \"kernel_size\": [3, 3],"
           " \"padding\": \"same\", \"activation\": \"relu\"}, \"inputs\": [\"input_1\"]},"
           "{\"name\": \"pool\", \"class\": \"MaxPooling2D\", \"config\": {\"pool_size\": [2, 2], \"strides\": [2, 2]},"
           " \"inputs\": [\"edges\"]}]},",
           height, width, FILTERS);
  injerto_status status = say(out, graph);
  if (status != INJERTO_OK) return status;
  return say(out, "\"preprocessing\": {\"scale\": 0.00392156862745098, \"mean\": [0, 0, 0], \"deviation\": [1, 1, 1]},"
                  "\"weights\": [{\"id\": \"" WEIGHTS "\", \"summary\": \"brightness, two directions, and spots, by hand\","
                  " \"licence\": \"MIT OR Apache-2.0\", \"source\": {\"kind\": \"embedded\"},"
                  " \"checksum\": {\"sha256\": \"1f7148ea74344794ef544a333df564fba4292b2f36e65282b24b2f6a22f1f720\"},"
                  " \"format\": \"safetensors\", \"tensors\": {\"layout\": \"keras\"}}]}");
}

/* --- weights ------------------------------------------------------------------------------------------------------- */

/* The weights of each filter for a 3x3 window of brightness, in eighths. */
static const int windows[FILTERS][3][3] = {
    {{0, 0, 0}, {0, 8, 0}, {0, 0, 0}},      /* the pixel */
    {{-1, 0, 1}, {-2, 0, 2}, {-1, 0, 1}},   /* upright edges */
    {{-1, -2, -1}, {0, 0, 0}, {1, 2, 1}},   /* level edges */
    {{-1, -1, -1}, {-1, 8, -1}, {-1, -1, -1}}, /* spots */
};

/* Shares of red, green and blue in brightness, in eighths. */
static const int brightness[3] = {2, 5, 1};

static injerto_status put_number(injerto_sink out, float number) {
  uint32_t bits;
  memcpy(&bits, &number, sizeof bits);
  const uint8_t bytes[4] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16), (uint8_t)(bits >> 24)};
  return out.write(out.context, bytes, sizeof bytes);
}

/* A safetensors file: the length of the header, the header, and the numbers row by row. */
static injerto_status read_weights(injerto_str id, injerto_sink out, injerto_sink error) {
  static const char header[] =
      "{\"edges/bias\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]},"
      "\"edges/kernel\":{\"dtype\":\"F32\",\"shape\":[3,3,3,4],\"data_offsets\":[16,448]}}";
  const size_t length = sizeof(header) - 1;
  const uint8_t prefix[8] = {(uint8_t)length, (uint8_t)(length >> 8)};
  if (!equal(id, WEIGHTS)) return refuse(error, INJERTO_NOT_FOUND, "no such weights in this library (it has '" WEIGHTS "')");
  injerto_status status = out.write(out.context, prefix, sizeof prefix);
  if (status == INJERTO_OK) status = say(out, header);
  for (int filter = 0; filter < FILTERS && status == INJERTO_OK; filter++) status = put_number(out, 0.0f);
  for (int cell = 0; cell < 3 * 3 * 3 * FILTERS && status == INJERTO_OK; cell++) {
    const int filter = cell % FILTERS, channel = cell / FILTERS % 3, x = cell / FILTERS / 3 % 3, y = cell / FILTERS / 9;
    status = put_number(out, (float)(windows[filter][y][x] * brightness[channel]) / 64.0f);
  }
  return status;
}

static const void *extension(injerto_str id) {
  static const injerto_weights_extension weights = {sizeof weights, read_weights};
  return equal(id, INJERTO_WEIGHTS_EXTENSION) ? &weights : NULL;
}

/* --- the table ----------------------------------------------------------------------------------------------------- */

const injerto_table *injerto_plugin_entry(void) {
  static const injerto_table table = {
      INJERTO_MAGIC, sizeof table, INJERTO_ABI_MAJOR, INJERTO_ABI_MINOR, TEXT(NAME), TEXT("0.1.0"), descriptors, describe,
      NULL /* reserved */, extension,
  };
  return &table;
}
