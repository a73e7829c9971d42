/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "doctor-look.h"

#include "agent.h"
#include "freeze.h"
#include "fsio.h"
#include "serve-process.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define AGENT_TIMEOUT_MS 5000

char *
bk_doctor_look_folder (const char *path, uint64_t *free_bytes)
{
  g_autoptr (GError) error = NULL;
  int fd = bk_fsio_open_scratch (path, 0, &error);
  if (fd < 0)
    return g_strdup (error->message);
  close (fd);
  return bk_fsio_free_space (path, free_bytes, &error) ? NULL : g_strdup (error->message);
}

/* --- programs --- */

/* The first line of what "@path --version" says, or NULL. */
static char *
version_of (const char *path)
{
  const char *const argv[] = { path, "--version", NULL };
  g_autofree char *output = NULL;
  int status = 0;
  if (!g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &output, NULL, &status, NULL) || status != 0)
    return NULL;
  char *end = strchr (output, '\n');
  if (end)
    *end = '\0';
  return output[0] && g_utf8_validate (output, -1, NULL) ? g_steal_pointer (&output) : NULL;
}

static void
look_program (GPtrArray *findings, BkProgramFacts facts, const char *program, bool says_version)
{
  g_autofree char *path = g_find_program_in_path (program);
  g_autofree char *version = path && says_version ? version_of (path) : NULL;
  facts.path = path;
  facts.version = version;
  bk_findings_add_program (findings, &facts);
}

/* nbdkit finds plugins by name itself. */
static void
look_plugin (GPtrArray *findings)
{
  g_autofree char *plugin = bk_serve_find_plugin ();
  g_autofree char *nbdkit = g_find_program_in_path ("nbdkit");
  const char *const argv[] = { "nbdkit", "--dump-plugin", plugin, NULL };
  int status = -1;
  bool loads = nbdkit != NULL && g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL, &status, NULL) && status == 0;
  const BkProgramFacts facts = { "nbdkit plugin", loads ? plugin : NULL, NULL, "'serve' from repositories of type dedup", "backupd (its nbdkit plugin), and nbdkit", false };
  bk_findings_add_program (findings, &facts);
}

void
bk_doctor_look_programs (GPtrArray *findings)
{
  static const BkProgramFacts qemu_img = { .name = "qemu-img", .needed = "repositories of type qcow2, and no restore to qcow2", .package = "qemu-utils", .essential = true };
  static const BkProgramFacts storage = { .name = "qemu-storage-daemon", .needed = "backups of VMs that are shut off, and no exports", .package = "qemu-system-common (or qemu-storage-daemon)" };
  static const BkProgramFacts nbdkit = { .name = "nbdkit", .needed = "'serve' from repositories of type dedup", .package = "nbdkit" };
  static const BkProgramFacts guard = { .name = "thaw-guard", .needed = "quiesced backups", .package = "backupd anew: it belongs to it" };
  const char *named = g_getenv ("BACKUPD_QEMU_IMG");
  g_autofree char *guard_path = bk_freeze_find_guard ();
  look_program (findings, qemu_img, named && *named ? named : "qemu-img", true);
  look_program (findings, storage, "qemu-storage-daemon", true);
  look_program (findings, nbdkit, "nbdkit", true);
  look_plugin (findings);
  look_program (findings, guard, guard_path, false);
}

/* --- a VM --- */

static char *
user_name (uid_t uid)
{
  char buffer[4096];
  struct passwd entry, *found = NULL;
  if (getpwuid_r (uid, &entry, buffer, sizeof buffer, &found) == 0 && found)
    return g_strdup (found->pw_name);
  return g_strdup_printf ("%u", (unsigned)uid);
}

bool
bk_doctor_look_socket (const char *path, char **owner, char **failure)
{
  struct stat info;
  *owner = *failure = NULL;
  if (stat (path, &info) < 0) {
    if (errno != ENOENT)
      *failure = g_strdup_printf ("cannot look at %s: %s", path, g_strerror (errno));
    return false;
  }
  *owner = user_name (info.st_uid);
  if (!S_ISSOCK (info.st_mode))
    *failure = g_strdup_printf ("%s is no socket", path);
  else if (faccessat (AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) < 0)
    *failure = g_strdup_printf ("%s may not be opened: %s", path, g_strerror (errno));
  return true;
}

char *
bk_doctor_look_confinement (const char *process)
{
  g_autofree char *pid = process ? g_strndup (process, strcspn (process, " ")) : NULL;
  g_autofree char *path = pid ? g_strdup_printf ("/proc/%s/attr/current", pid) : NULL;
  g_autofree char *profile = NULL;
  if (path == NULL || !g_file_get_contents (path, &profile, NULL, NULL))
    return NULL;
  g_strchomp (profile);
  bool confined = profile[0] != '\0' && strcmp (profile, "unconfined") != 0 && g_utf8_validate (profile, -1, NULL);
  return confined ? g_steal_pointer (&profile) : NULL;
}

char *
bk_doctor_look_agent (const char *address, bool *frozen)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkAgent) agent = bk_agent_new (address, &error);
  if (agent && bk_agent_open (agent, AGENT_TIMEOUT_MS, &error) && bk_agent_is_frozen (agent, frozen, AGENT_TIMEOUT_MS, &error))
    return NULL;
  return g_strdup (error->message);
}
