/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sse.h"

#include <string.h>

#define MAX_EVENT (16 << 20)

struct BkSse {
  GString *input; /* not yet read */
  size_t at;      /* start of the next line in it */
  GString *id;
  GString *type;
  GString *data;
  bool has_data;
  bool delivered; /* type and data are those of the event handed out last */
};

BkSse *
bk_sse_new (void)
{
  BkSse *sse = g_new0 (BkSse, 1);
  sse->input = g_string_new (NULL);
  sse->id = g_string_new (NULL);
  sse->type = g_string_new (NULL);
  sse->data = g_string_new (NULL);
  return sse;
}

void
bk_sse_free (BkSse *sse)
{
  if (sse == NULL)
    return;
  g_string_free (sse->input, TRUE);
  g_string_free (sse->id, TRUE);
  g_string_free (sse->type, TRUE);
  g_string_free (sse->data, TRUE);
  g_free (sse);
}

gboolean
bk_sse_push (BkSse *sse, const char *bytes, size_t length, GError **error)
{
  g_string_erase (sse->input, 0, (gssize)sse->at);
  sse->at = 0;
  if (sse->input->len + sse->data->len + length > MAX_EVENT) {
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "an event of the daemon is longer than 16 MiB");
    return FALSE;
  }
  g_string_append_len (sse->input, bytes, (gssize)length);
  return TRUE;
}

static void
take_line (BkSse *sse, const char *line, size_t length)
{
  const char *colon = memchr (line, ':', length);
  size_t name = colon ? (size_t)(colon - line) : length;
  const char *value = colon ? colon + 1 : line + length;
  if (value < line + length && *value == ' ')
    value++;
  size_t size = (size_t)(line + length - value);
  if (name == 4 && memcmp (line, "data", 4) == 0) {
    if (sse->has_data)
      g_string_append_c (sse->data, '\n');
    g_string_append_len (sse->data, value, (gssize)size);
    sse->has_data = true;
  } else if (name == 5 && memcmp (line, "event", 5) == 0) {
    g_string_truncate (sse->type, 0);
    g_string_append_len (sse->type, value, (gssize)size);
  } else if (name == 2 && memcmp (line, "id", 2) == 0 && memchr (value, '\0', size) == NULL) {
    g_string_truncate (sse->id, 0);
    g_string_append_len (sse->id, value, (gssize)size);
  }
}

static void
forget_event (BkSse *sse)
{
  g_string_truncate (sse->type, 0);
  g_string_truncate (sse->data, 0);
  sse->has_data = sse->delivered = false;
}

bool
bk_sse_next (BkSse *sse, BkSseEvent *event)
{
  if (sse->delivered)
    forget_event (sse);
  const char *end = NULL;
  while ((end = memchr (sse->input->str + sse->at, '\n', sse->input->len - sse->at)) != NULL) {
    const char *line = sse->input->str + sse->at;
    size_t length = (size_t)(end - line);
    sse->at += length + 1;
    if (length > 0 && line[length - 1] == '\r')
      length--;
    if (length > 0) {
      take_line (sse, line, length);
      continue;
    }
    if (sse->has_data) {
      *event = (BkSseEvent){ sse->id->str, sse->type->len ? sse->type->str : "message", sse->data->str };
      return sse->delivered = true;
    }
    forget_event (sse);
  }
  return false;
}
