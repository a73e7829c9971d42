/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The same bytes, whole and in pieces, must give the same messages and the same end.
 */
#include "fuzz.h"
#include "qmp-wire.h"

#include <string.h>

#define LINE_MAX_BYTES 4096

/* Appends what @wire has to say by now; false when it has failed. */
static bool
drain (BkQmpWire *wire, GString *out)
{
  for (;;) {
    g_autoptr (json_object) message = NULL;
    g_autoptr (GError) error = NULL;
    if (!bk_qmp_wire_next (wire, &message, &error)) {
      g_assert (message == NULL && g_error_matches (error, BK_ERROR, BK_ERROR_UNREACHABLE));
      g_assert (g_utf8_validate (error->message, -1, NULL));
      return false;
    }
    g_assert (error == NULL);
    if (message == NULL)
      return true;
    g_assert (json_object_is_type (message, json_type_object));
    g_string_append_printf (out, "%s\n", json_object_to_json_string (message));
  }
}

static GString *
read_in_pieces (const uint8_t *data, size_t size, size_t piece)
{
  g_autoptr (BkQmpWire) wire = bk_qmp_wire_new (LINE_MAX_BYTES);
  GString *out = g_string_new (NULL);
  bool good = true;
  for (size_t at = 0; at < size; at += piece) {
    bk_qmp_wire_feed (wire, data + at, MIN (piece, size - at));
    bool now = drain (wire, out);
    g_assert (good || !now); /* failed is failed */
    good = now;
  }
  g_string_append (out, good ? "good" : "failed");
  return out;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  if (size < 1)
    return 0;
  size_t piece = data[0] + 1u;
  g_autoptr (GString) whole = read_in_pieces (data + 1, size - 1, size);
  g_autoptr (GString) pieces = read_in_pieces (data + 1, size - 1, piece);
  g_assert (g_string_equal (whole, pieces));
  return 0;
}
