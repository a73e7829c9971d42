/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Files that were being written when a process was killed: ".NAME.XXXXXX" beside NAME. Those of packs are the chunk store's.
 */
#include "repository-private.h"

#include "fsio.h"

#include <sys/stat.h>

/* Since it was opened nobody but this process has written here. */
static bool
is_debris (BkRepository *repository, const char *path, const char *name)
{
  struct stat st;
  if (name[0] != '.' || lstat (path, &st) < 0 || !S_ISREG (st.st_mode))
    return false;
  return (int64_t)st.st_mtim.tv_sec * G_USEC_PER_SEC + st.st_mtim.tv_nsec / 1000 < repository->opened_at;
}

/* In a folder, and with @deep in those that are in it. */
static gboolean
clear_folder (BkRepository *repository, const char *folder, bool deep, uint64_t *removed, GError **error)
{
  const char *name;
  g_autoptr (GDir) files = g_dir_open (folder, 0, NULL);
  while (files && (name = g_dir_read_name (files)) != NULL) {
    g_autofree char *path = g_build_filename (folder, name, NULL);
    if (deep && !clear_folder (repository, path, false, removed, error))
      return FALSE;
    if (!is_debris (repository, path, name))
      continue;
    if (!bk_fsio_remove (path, error))
      return FALSE;
    ++*removed;
  }
  return TRUE;
}

gboolean
bk_repository_clear_debris (BkRepository *repository, uint64_t *removed, GError **error)
{
  static const struct {
    const char *folder;
    bool deep; /* a folder for each VM */
  } places[] = { { "", false }, { "backups", true }, { "trash", true }, { "pins", true }, { "damage/backups", true }, { "damage/chunks", false } };
  *removed = 0;
  for (size_t i = 0; i < G_N_ELEMENTS (places); i++) {
    g_autofree char *folder = g_build_filename (repository->path, places[i].folder, NULL);
    if (!clear_folder (repository, folder, places[i].deep, removed, error))
      return FALSE;
  }
  return TRUE;
}
