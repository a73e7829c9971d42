/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "qmp-wire.h"

#include <string.h>

/* An emptied buffer larger than this is given back: one query-qmp-schema (205 KiB) is no reason to keep that much for each VM. */
#define KEEP_MAX (16u << 10)

/* How much of a line that is no QMP is shown in the error. */
#define SHOWN_MAX 40

/* query-block and query-blockstats nest one or two levels for each image of a backing chain. */
#define DEPTH_MAX 1024

struct BkQmpWire {
  GByteArray *buffer;
  size_t start;   /* first byte of the line that is collected */
  size_t scanned; /* no newline in [start, scanned): each byte is looked at once, however input is split */
  size_t line_max;
  GError *failed;
};

BkQmpWire *
bk_qmp_wire_new (size_t line_max)
{
  BkQmpWire *wire = g_new0 (BkQmpWire, 1);
  wire->buffer = g_byte_array_new ();
  wire->line_max = line_max > 0 ? line_max : BK_QMP_LINE_MAX;
  return wire;
}

void
bk_qmp_wire_free (BkQmpWire *wire)
{
  if (wire == NULL)
    return;
  g_byte_array_unref (wire->buffer);
  g_clear_error (&wire->failed);
  g_free (wire);
}

static void
reset_buffer (BkQmpWire *wire)
{
  if (wire->buffer->len > KEEP_MAX) {
    g_byte_array_unref (wire->buffer);
    wire->buffer = g_byte_array_new ();
  }
  g_byte_array_set_size (wire->buffer, 0);
  wire->start = 0;
  wire->scanned = 0;
}

/* Drops what was read. Moves no more bytes than were dropped, so that the whole stays linear. */
static void
compact (BkQmpWire *wire)
{
  if (wire->start == wire->buffer->len) {
    reset_buffer (wire);
    return;
  }
  if (wire->start == 0 || wire->start < wire->buffer->len / 2)
    return;
  g_byte_array_remove_range (wire->buffer, 0, (guint)wire->start);
  wire->scanned -= wire->start;
  wire->start = 0;
}

void
bk_qmp_wire_feed (BkQmpWire *wire, const void *data, size_t length)
{
  if (wire->failed || length == 0)
    return;
  compact (wire);
  g_byte_array_append (wire->buffer, data, (guint)length);
}

static gboolean
fail (BkQmpWire *wire, const char *format, ...) G_GNUC_PRINTF (2, 3);

/* Fails for good: what follows garbage cannot be trusted to start at a message. */
static gboolean
fail (BkQmpWire *wire, const char *format, ...)
{
  va_list args;
  va_start (args, format);
  wire->failed = g_error_new_valist (BK_ERROR, BK_ERROR_UNREACHABLE, format, args);
  va_end (args);
  reset_buffer (wire);
  return FALSE;
}

static char *
printable (const char *text, size_t length)
{
  GString *shown = g_string_new (NULL);
  for (size_t i = 0; i < length && i < SHOWN_MAX; i++)
    g_string_append_c (shown, g_ascii_isprint (text[i]) ? text[i] : '?');
  if (length > SHOWN_MAX)
    g_string_append (shown, "...");
  return g_string_free (shown, FALSE);
}

static gboolean
parse_line (BkQmpWire *wire, const char *line, size_t length, json_object **message)
{
  g_autoptr (GError) error = NULL;
  json_object *json = bk_json_parse_nested (line, length, DEPTH_MAX, &error);
  if (error == NULL && json_object_is_type (json, json_type_object)) {
    *message = json;
    return TRUE;
  }
  json_object_put (json);
  g_autofree char *shown = printable (line, length);
  return fail (wire, "not a QMP monitor: it sent '%s' (%s)", shown, error ? error->message : "not a JSON object");
}

static bool
is_empty (const char *line, size_t length)
{
  for (size_t i = 0; i < length; i++)
    if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
      return false;
  return true;
}

/* Takes the next line off the buffer; *@line stays valid until the next feed. */
static bool
take_line (BkQmpWire *wire, const char **line, size_t *length)
{
  const char *text = (const char *)wire->buffer->data;
  size_t end = wire->buffer->len;
  const char *newline = end > wire->scanned ? memchr (text + wire->scanned, '\n', end - wire->scanned) : NULL;
  if (newline == NULL) {
    wire->scanned = end;
    return false;
  }
  *line = text + wire->start;
  *length = (size_t)(newline - *line);
  wire->start += *length + 1;
  wire->scanned = wire->start;
  return true;
}

static gboolean
next (BkQmpWire *wire, json_object **message)
{
  const char *line = NULL;
  size_t length = 0;
  while (take_line (wire, &line, &length)) {
    if (length > wire->line_max)
      return fail (wire, "not a QMP monitor: it sent a line of more than %zu bytes", wire->line_max);
    if (!is_empty (line, length))
      return parse_line (wire, line, length, message);
  }
  if (wire->buffer->len - wire->start > wire->line_max)
    return fail (wire, "not a QMP monitor: it sent a line of more than %zu bytes", wire->line_max);
  return TRUE;
}

gboolean
bk_qmp_wire_next (BkQmpWire *wire, json_object **message, GError **error)
{
  *message = NULL;
  if (wire->failed == NULL && next (wire, message))
    return TRUE;
  g_propagate_error (error, g_error_copy (wire->failed));
  return FALSE;
}

void
bk_qmp_wire_format (GString *out, const char *name, json_object *arguments, uint64_t id, gboolean oob)
{
  g_autoptr (json_object) command = json_object_new_object ();
  json_object_object_add (command, oob ? "exec-oob" : "execute", json_object_new_string (name));
  if (arguments)
    json_object_object_add (command, "arguments", json_object_get (arguments));
  json_object_object_add (command, "id", json_object_new_uint64 (id));
  g_string_append (out, json_object_to_json_string_ext (command, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
  g_string_append_c (out, '\n');
}
