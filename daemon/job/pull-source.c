/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pull-source.h"

#include "file-reader.h"
#include "nbd-reader.h"

#include <string.h>

static BkNbdAddress
address_of (const BkRun *run, const char *export)
{
  g_assert (g_str_has_prefix (run->nbd_address, "unix:"));
  return (BkNbdAddress){ .socket_path = run->nbd_address + strlen ("unix:"), .export_name = export };
}

BkReader *
bk_pull_source_new (const BkRun *run, const BkRunDisk *disk, GCancellable *cancellable, GError **error)
{
  if (disk->frozen_path) {
    const BkNbdAddress map = address_of (run, disk->map_export);
    const BkFileReaderOptions options = { .dirty_address = disk->dirty_context ? &map : NULL, .dirty_context = disk->dirty_context };
    return bk_file_reader_new (disk->frozen_path, &options, cancellable, error);
  }
  const BkNbdAddress address = address_of (run, disk->export_name);
  const BkNbdReaderOptions options = { .dirty_context = disk->dirty_context };
  return bk_nbd_reader_new (&address, &options, cancellable, error);
}
