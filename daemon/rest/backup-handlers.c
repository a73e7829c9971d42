/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handlers.h"

#include <string.h>

/* A page's cursor is "MICROSECONDS.ID" of its last backup: it stays good when that one is deleted. */
typedef struct {
  int64_t time;
  const char *id;
} Position;

static Position
position_of (const BkBackupInfo *backup)
{
  return (Position){ backup->point_in_time, backup->id };
}

static int
compare_positions (Position a, Position b)
{
  if (a.time != b.time)
    return a.time < b.time ? -1 : 1;
  return strcmp (a.id, b.id);
}

static int
compare_backups (gconstpointer a, gconstpointer b)
{
  return compare_positions (position_of (*(BkBackupInfo *const *)a), position_of (*(BkBackupInfo *const *)b));
}

static gboolean
parse_cursor (const char *text, Position *after, GError **error)
{
  char *end = NULL;
  *after = (Position){ INT64_MIN, "" };
  if (text == NULL)
    return TRUE;
  after->time = g_ascii_strtoll (text, &end, 10);
  after->id = end + 1;
  if (end != text && *end == '.' && bk_id_is_valid (end + 1))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "?cursor: must be what 'next' of the page before says");
  return FALSE;
}

/* Sorts @backups and leaves those of the page. Returns the cursor of the next one, NULL at the end. */
static char *
cut_page (GPtrArray *backups, Position after, unsigned limit)
{
  unsigned start = 0;
  g_ptr_array_sort (backups, compare_backups);
  while (start < backups->len && compare_positions (position_of (backups->pdata[start]), after) <= 0)
    start++;
  if (start > 0)
    g_ptr_array_remove_range (backups, 0, start);
  if (backups->len <= limit)
    return NULL;
  g_ptr_array_remove_range (backups, limit, backups->len - limit);
  Position last = position_of (backups->pdata[limit - 1]);
  return g_strdup_printf ("%" G_GINT64_FORMAT ".%s", (gint64)last.time, last.id);
}

/* The backups, or with ?deleted=true those in the trash. */
static GPtrArray *
find_backups (BkExchange *exchange, GError **error)
{
  static const char *const words[] = { "true", "false", NULL };
  BkQueue *queue = bk_exchange_services (exchange)->queue;
  const char *vm = bk_exchange_query (exchange, "vm");
  const char *deleted = NULL;
  if (!bk_exchange_query_word (exchange, "deleted", words, &deleted, error))
    return NULL;
  return g_strcmp0 (deleted, "true") == 0 ? bk_queue_list_trash (queue, vm, error) : bk_queue_list_backups (queue, vm, error);
}

void
bk_backups_list (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) backups = NULL;
  Position after;
  uint64_t limit = 100;
  if (bk_exchange_query_number (exchange, "limit", 1, 1000, &limit, &error) &&
      parse_cursor (bk_exchange_query (exchange, "cursor"), &after, &error))
    backups = find_backups (exchange, &error);
  if (backups == NULL) {
    bk_exchange_fail (exchange, error);
    return;
  }
  g_autofree char *next = cut_page (backups, after, (unsigned)limit);
  bk_exchange_reply_list (exchange, &bk_backup_info_struct, backups, next);
}

/* Answers with @backup, or with @error when it is NULL. */
static void
reply_backup (BkExchange *exchange, const BkBackupInfo *backup, const GError *error)
{
  if (backup)
    bk_exchange_reply_struct (exchange, SOUP_STATUS_OK, &bk_backup_info_struct, backup);
  else
    bk_exchange_fail (exchange, error);
}

void
bk_backup_show (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkBackupInfo) backup = bk_queue_get_backup (bk_exchange_services (exchange)->queue,
                                                         bk_exchange_word (exchange, 0), &error);
  reply_backup (exchange, backup, error);
}

static void
pin_backup (BkExchange *exchange, bool pinned)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkBackupInfo) backup = bk_queue_pin_backup (bk_exchange_services (exchange)->queue,
                                                         bk_exchange_word (exchange, 0), pinned, &error);
  reply_backup (exchange, backup, error);
}

void
bk_backup_pin (BkExchange *exchange)
{
  pin_backup (exchange, true);
}

void
bk_backup_unpin (BkExchange *exchange)
{
  pin_backup (exchange, false);
}

void
bk_backup_undelete (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkBackupInfo) backup = bk_queue_undelete_backup (bk_exchange_services (exchange)->queue,
                                                              bk_exchange_word (exchange, 0), &error);
  reply_backup (exchange, backup, error);
}

void
bk_backup_delete (BkExchange *exchange)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkJobInfo) job = bk_queue_submit_delete (bk_exchange_services (exchange)->queue,
                                                      bk_exchange_word (exchange, 0), &error);
  if (job == NULL) {
    bk_exchange_fail (exchange, error);
    return;
  }
  g_autofree char *location = g_strdup_printf ("/v1/jobs/%s", job->id);
  bk_exchange_add_header (exchange, "Location", location);
  bk_exchange_reply_struct (exchange, SOUP_STATUS_ACCEPTED, &bk_job_info_struct, job);
}
