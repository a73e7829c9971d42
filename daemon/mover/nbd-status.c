/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nbd-status.h"

#include <inttypes.h>

/* The protocol has lengths of 32 bits. */
#define MOST (UINT64_C (4) * 1024 * 1024 * 1024 - 64 * 1024 * 1024)

typedef struct {
  uint32_t length, flags;
} Entry;

struct BkNbdStatus {
  BkNbdConnection *connection;
  unsigned lane;
  char *context;
  GArray *entries; /* of the last answer */
  unsigned next;   /* entry that covers the position, */
  uint64_t start;  /* which begins here */
};

BkNbdStatus *
bk_nbd_status_new (BkNbdConnection *connection, unsigned lane, const char *context)
{
  BkNbdStatus *status = g_new0 (BkNbdStatus, 1);
  status->connection = connection;
  status->lane = lane;
  status->context = g_strdup (context);
  status->entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  return status;
}

void
bk_nbd_status_free (BkNbdStatus *status)
{
  g_array_unref (status->entries);
  g_free (status->context);
  g_free (status);
}

static void
take_answer (const char *context, uint64_t offset G_GNUC_UNUSED, const uint32_t *entries, size_t n_entries, gpointer user_data)
{
  BkNbdStatus *status = user_data;
  G_STATIC_ASSERT (sizeof (Entry) == 2 * sizeof (uint32_t));
  if (g_str_equal (context, status->context))
    g_array_append_vals (status->entries, entries, (unsigned)(n_entries / 2));
}

/* Entries without length would keep us for ever. */
static bool
is_usable (const GArray *entries)
{
  for (unsigned i = 0; i < entries->len; i++)
    if (g_array_index (entries, Entry, i).length == 0)
      return false;
  return entries->len > 0;
}

static gboolean
ask (BkNbdStatus *status, uint64_t offset, uint64_t end, GError **error)
{
  BkNbdCommand command = { .operation = BK_NBD_STATUS, .offset = offset, .length = MIN (end - offset, MOST), .status = take_answer,
                           .user_data = status };
  g_array_set_size (status->entries, 0);
  status->next = 0;
  status->start = offset;
  if (!bk_nbd_connection_do (status->connection, status->lane, &command, error))
    return FALSE;
  if (is_usable (status->entries))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the NBD server gives no sensible answer about the extents at %" PRIu64, offset);
  return FALSE;
}

/* To the entry that covers @offset; FALSE: none of those that we have does. */
static bool
seek (BkNbdStatus *status, uint64_t offset)
{
  for (; status->next < status->entries->len; status->next++) {
    uint64_t end = status->start + g_array_index (status->entries, Entry, status->next).length;
    if (end > offset)
      return true;
    status->start = end;
  }
  return false;
}

gboolean
bk_nbd_status_get (BkNbdStatus *status, uint64_t offset, uint64_t end, uint32_t *flags, uint64_t *length, GError **error)
{
  if (!seek (status, offset) && !ask (status, offset, end, error))
    return FALSE;
  Entry entry = g_array_index (status->entries, Entry, status->next);
  *flags = entry.flags;
  *length = MIN (status->start + entry.length, end) - offset;
  return TRUE;
}

uint64_t
bk_nbd_status_reach (const BkNbdStatus *status, uint32_t flag, uint64_t gap)
{
  uint64_t position = status->start, reach = position;
  for (unsigned i = status->next; i < status->entries->len && position - reach < gap; i++) {
    Entry entry = g_array_index (status->entries, Entry, i);
    position += entry.length;
    if (entry.flags & flag)
      reach = position;
  }
  return reach;
}
