/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A file that says it is a part of the index: whatever it gives, no reader is led outside of its buffer by it.
 */
#include "fuzz.h"
#include "index-run.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void
check_entry (const BkIndexEntry *entry)
{
  g_assert (entry->length > 0 && entry->length <= BK_CHUNK_LIMIT && entry->stored > BK_CHUNK_HEAD && entry->stored <= BK_CHUNK_RECORD_LIMIT);
}

/* Where rows can be read one by one they can be found. */
static void
check_row (BkIndexRun *run, uint64_t row)
{
  BkIndexEntry entry;
  uint64_t found;
  if (!bk_index_run_read (run, row, &entry, NULL))
    return;
  check_entry (&entry);
  if (bk_index_run_seek (run, entry.key, &found, NULL))
    g_assert (found <= bk_index_run_rows (run));
}

static void
check_cursor (BkIndexRun *run)
{
  const BkIndexEntry *entry = NULL;
  BkIndexCursor *cursor = bk_index_cursor_new (run);
  for (uint64_t rows = 0; bk_index_cursor_next (cursor, &entry, NULL) && entry; rows++) {
    g_assert (rows < bk_index_run_rows (run) && entry->pack < bk_index_run_packs (run));
    check_entry (entry);
  }
  bk_index_cursor_free (cursor);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  int fd = memfd_create ("run", MFD_CLOEXEC);
  g_assert (fd >= 0 && write (fd, data, size) == (ssize_t)size);
  g_autoptr (GError) error = NULL;
  g_autoptr (BkIndexRun) run = bk_index_run_open (fd, "run", &error);
  g_assert ((run == NULL) == (error != NULL));
  if (run == NULL)
    return 0;
  for (unsigned i = 0; i < bk_index_run_packs (run); i++)
    g_assert (strlen (bk_index_run_pack_name (run, i)) < 32);
  for (uint64_t row = 0; row < MIN (bk_index_run_rows (run), 1000); row++)
    check_row (run, row);
  check_cursor (run);
  return 0;
}
