/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "findings.h"

#include <string.h>

#define MIB (UINT64_C (1024) * 1024)
#define GIB (1024 * MIB)

/* Of a repository: what a small increment needs, and what an ordinary night does. */
#define REPOSITORY_LEAST (64 * MIB)
#define REPOSITORY_GOOD (2 * GIB)

/* Scratch holds what the guest overwrites during a backup; a tenth of the disks is a lot for that. */
#define SCRATCH_SHARE 10

/* Clocks are set by fractions of a second. */
#define CLOCK_SLACK (2 * G_USEC_PER_SEC)

GPtrArray *
bk_findings_new (void)
{
  return g_ptr_array_new_with_free_func ((GDestroyNotify)bk_finding_free);
}

static unsigned
rank (const char *state)
{
  unsigned found = 0;
  while (bk_finding_states[found] && strcmp (bk_finding_states[found], state) != 0)
    found++;
  return found;
}

const char *
bk_findings_state (GPtrArray *findings)
{
  unsigned worst = 0;
  for (unsigned i = 0; i < findings->len; i++)
    worst = MAX (worst, rank (((const BkFinding *)findings->pdata[i])->state));
  return bk_finding_states[worst];
}

/* @detail, @fix: (transfer full). */
static void
add (GPtrArray *findings, const char *subject, const char *check, const char *state, char *detail, char *fix)
{
  BkFinding *finding = g_new0 (BkFinding, 1);
  finding->subject = g_strdup (subject);
  finding->check = g_strdup (check);
  finding->state = g_strdup (state);
  finding->detail = detail;
  finding->fix = fix;
  g_ptr_array_add (findings, finding);
}

/* GLib puts a no-break space before the unit, which is of no use in a terminal. (transfer full) */
static char *
size_text (uint64_t bytes)
{
  g_autofree char *text = g_format_size_full (bytes, G_FORMAT_SIZE_IEC_UNITS);
  g_auto (GStrv) parts = g_strsplit (text, "\302\240", 2);
  return g_strjoinv (" ", parts);
}

void
bk_findings_add_silence (GPtrArray *findings, const char *subject, unsigned seconds)
{
  add (findings, subject, "answers", "problem", g_strdup_printf ("no answer within %u seconds", seconds),
       g_strdup ("see whether it hangs (its QEMU, libvirtd, or the storage below it), and start that again"));
}

/* --- the daemon --- */

void
bk_findings_add_folder (GPtrArray *findings, const BkFolderFacts *facts)
{
  g_autofree char *room = size_text (facts->free_bytes);
  if (facts->failure) {
    add (findings, facts->subject, facts->check, "problem", g_strdup (facts->failure), g_strdup (facts->remedy));
    return;
  }
  const char *state = facts->free_bytes < facts->least ? "problem" : facts->free_bytes < facts->good ? "warning" : "ok";
  bool ok = strcmp (state, "ok") == 0;
  add (findings, facts->subject, facts->check, state, g_strdup_printf ("%s is writable, with %s free", facts->path, room), ok ? NULL : g_strdup (facts->more));
}

void
bk_findings_add_program (GPtrArray *findings, const BkProgramFacts *facts)
{
  if (facts->path)
    add (findings, "daemon", facts->name, "ok", facts->version ? g_strdup_printf ("%s: %s", facts->path, facts->version) : g_strdup (facts->path), NULL);
  else
    add (findings, "daemon", facts->name, facts->essential ? "problem" : "warning", g_strdup_printf ("not found: no %s", facts->needed),
         g_strdup_printf ("install the package %s", facts->package));
}

void
bk_findings_add_clock (GPtrArray *findings, int64_t now, int64_t newest)
{
  g_autoptr (GDateTime) time = g_date_time_new_from_unix_utc (now / G_USEC_PER_SEC);
  g_autofree char *text = g_date_time_format (time, "%Y-%m-%d %H:%M:%S UTC");
  if (newest <= now + CLOCK_SLACK) {
    add (findings, "daemon", "clock", "ok", g_steal_pointer (&text), NULL);
    return;
  }
  g_autoptr (GDateTime) later = g_date_time_new_from_unix_utc (newest / G_USEC_PER_SEC);
  g_autofree char *later_text = g_date_time_format (later, "%Y-%m-%d %H:%M:%S UTC");
  add (findings, "daemon", "clock", "problem", g_strdup_printf ("it is %s here, but the newest backup or checkpoint is of %s: the clock was set back", text, later_text),
       g_strdup ("set the clock right ('timedatectl set-ntp true') before the next backup: their order is by time"));
}

void
bk_findings_add_jobs (GPtrArray *findings, GPtrArray *jobs)
{
  for (unsigned i = 0; i < jobs->len; i++) {
    const BkJobInfo *job = jobs->pdata[i];
    add (findings, "daemon", "jobs", "warning", g_strdup_printf ("job %s of VM %s is paused%s%s", job->id, job->vm ? job->vm : "-", job->error ? ": " : "", job->error && job->error->message ? job->error->message : ""),
         g_strdup_printf ("'backupctl resume %s', or 'backupctl cancel %s'", job->id, job->id));
  }
  if (jobs->len == 0)
    add (findings, "daemon", "jobs", "ok", g_strdup ("none waits for somebody"), NULL);
}

/* --- repositories --- */

static char *
repository_fix (const BkRepositoryInfo *repository)
{
  if (g_strcmp0 (repository->state, "locked") == 0)
    return g_strdup ("put its secret where 'backupctl repo show' says that it is read from");
  return g_strdup_printf ("mount or make readable what should be at %s, or 'backupctl repo remove %s'", repository->path, repository->name);
}

void
bk_findings_add_repository (GPtrArray *findings, const BkRepositoryInfo *repository, const char *unwritable)
{
  g_autofree char *subject = g_strconcat ("repository ", repository->name, NULL);
  g_autofree char *more = g_strdup_printf ("'backupctl backup delete' what is not needed, and 'backupctl repo gc %s'; or move it to a larger file system", repository->name);
  g_autofree char *remedy = g_strdup_printf ("give the daemon's user the right to write in %s, or mount it for writing", repository->path);
  if (g_strcmp0 (repository->state, "ok") != 0) {
    add (findings, subject, "opens", "problem", g_strdup_printf ("it is %s: %s", repository->state, repository->reason ? repository->reason : "nothing is known of why"),
         repository_fix (repository));
    return;
  }
  const BkFolderFacts folder = { subject, "folder", repository->path, unwritable, remedy, repository->bytes_free, REPOSITORY_LEAST, REPOSITORY_GOOD, more };
  bk_findings_add_folder (findings, &folder);
  if (repository->damaged_chunks > 0)
    add (findings, subject, "content", "problem", g_strdup_printf ("%" G_GUINT64_FORMAT " chunks are known to be damaged", repository->damaged_chunks),
         g_strdup_printf ("'backupctl repo verify %s' names the backups; the next full backup heals what the VM still has", repository->name));
}

/* --- a VM: from the outside in --- */

typedef struct {
  GPtrArray *findings;
  const BkVmFacts *facts;
  char *subject;
} Look;

static void
note (const Look *look, const char *check, const char *state, char *detail, char *fix)
{
  add (look->findings, look->subject, check, state, detail, fix);
}

/* What is shut off has no socket, and that is no trouble. */
static bool
is_off (const BkVmFacts *facts)
{
  return facts->state && facts->state->offline;
}

static void
add_socket (const Look *look)
{
  const BkVmFacts *facts = look->facts;
  const char *path = facts->vm->qmp;
  if (path == NULL || (!facts->socket_there && is_off (facts)))
    return;
  if (!facts->socket_there && facts->socket_failure)
    note (look, "socket", "problem", g_strdup (facts->socket_failure), g_strdup_printf ("let user %s through to %s", facts->user, path));
  else if (!facts->socket_there)
    note (look, "socket", "problem", g_strdup_printf ("there is no socket %s", path),
          g_strdup_printf ("start the VM, with '-qmp unix:%s,server=on,wait=off'; or 'backupctl vm remove' and 'vm add' it with the right path", path));
  else if (facts->socket_failure)
    note (look, "socket", "problem", g_strdup_printf ("%s; it belongs to user %s, and the daemon is user %s", facts->socket_failure, facts->socket_owner, facts->user),
          g_strdup_printf ("'setfacl -m u:%s:rw %s', or run daemon and VM as one user", facts->user, path));
  else
    note (look, "socket", "ok", g_strdup_printf ("%s belongs to user %s", path, facts->socket_owner), NULL);
}

static char *
connection_fix (const BkVmFacts *facts)
{
  if (facts->link == BK_LINK_BUSY)
    return g_strdup ("give the VM a second monitor for backupd alone (a second '-qmp', on another path), or end the program that holds this one; a VM of libvirt is added by 'vm add --libvirt'");
  if (facts->vm->libvirt)
    return g_strdup_printf ("see that 'virsh -c %s list --all' answers for the daemon's user, and has the domain", facts->vm->libvirt);
  return g_strdup ("see that the VM runs, and that its QEMU answers on its monitor");
}

static void
add_connection (const Look *look)
{
  const BkVmFacts *facts = look->facts;
  const BkVmState *state = facts->state;
  if (state == NULL)
    note (look, "connection", "problem", g_strdup (facts->failure), connection_fix (facts));
  else if (state->offline)
    note (look, "connection", "ok", g_strdup ("it is shut off, and backed up from its images"), NULL);
  else
    note (look, "connection", "ok", g_strdup_printf ("%s, %s%s", state->status, facts->vm->libvirt ? "libvirt " : "QEMU ", state->version ? state->version : "of unknown version"), NULL);
}

static void
add_features (const Look *look)
{
  const BkVmState *state = look->facts->state;
  if (state->obstacle)
    note (look, "backup", "problem", g_strdup (state->obstacle), g_strdup ("end what is in the way, or wait for it"));
  if (state->no_pull && state->no_snapshot_push)
    note (look, "features", "warning", g_strdup_printf ("no pull (%s), and no push from a snapshot (%s)", state->no_pull, state->no_snapshot_push),
          g_strdup ("use mode push-direct, or start the VM with QEMU 7.2 or newer"));
  else if (state->no_pull || state->no_snapshot_push)
    note (look, "features", "warning", g_strdup_printf ("no %s: %s", state->no_pull ? "pull" : "push", state->no_pull ? state->no_pull : state->no_snapshot_push),
          g_strdup_printf ("use mode %s, or start the VM with QEMU 7.2 or newer", state->no_pull ? "push" : "pull"));
  else if (!state->offline)
    note (look, "features", "ok", g_strdup ("pull and push from a snapshot are possible"), NULL);
}

/* That QEMU has opened scratch is better news than its profile. */
static void
add_confinement (const Look *look)
{
  const BkVmFacts *facts = look->facts;
  const char *profile = facts->confinement;
  if (profile == NULL || strstr (profile, "(enforce)") == NULL)
    return;
  if (facts->scratch_tried && facts->scratch_failure == NULL)
    note (look, "AppArmor", "ok", g_strdup_printf ("QEMU is confined by %s, and may use scratch", profile), NULL);
  else
    note (look, "AppArmor", "warning", g_strdup_printf ("QEMU is confined by %s", profile),
          g_strdup_printf ("allow it '%s/** rwk,' and the folders that backups are pushed to, in /etc/apparmor.d/local/abstractions/libvirt-qemu", facts->scratch));
}

static uint64_t
bytes_selected (const BkVmState *state)
{
  uint64_t sum = 0;
  for (unsigned i = 0; i < state->disks->len; i++) {
    const BkDisk *disk = state->disks->pdata[i];
    sum += bk_disk_is_default (disk) ? disk->size : 0;
  }
  return sum;
}

static void
add_scratch (const Look *look)
{
  const BkVmFacts *facts = look->facts;
  if (facts->state->offline)
    return;
  uint64_t wanted = bytes_selected (facts->state) / SCRATCH_SHARE;
  g_autofree char *room = size_text (facts->scratch_free);
  if (facts->scratch_failure)
    note (look, "scratch", "problem", g_strdup_printf ("QEMU cannot use a file in %s: %s", facts->scratch, facts->scratch_failure),
          g_strdup_printf ("make %s a folder on a local file system in which the daemon's user may write and QEMU may use files, or set 'scratch-dir'", facts->scratch));
  else if (facts->scratch_free < wanted)
    note (look, "scratch", "warning", g_strdup_printf ("%s free in %s is less than a tenth of its disks", room, facts->scratch),
          g_strdup ("set 'scratch-dir' to where there is more room, if the guest writes much during backups"));
  else
    note (look, "scratch", "ok", facts->scratch_tried ? g_strdup_printf ("QEMU has opened a file in %s, and closed it", facts->scratch)
                                                      : g_strdup_printf ("%s free in %s; QEMU was not asked to open a file there", room, facts->scratch), NULL);
}

static bool
is_known (GPtrArray *checkpoints, const char *bitmap)
{
  for (unsigned i = 0; checkpoints && i < checkpoints->len; i++) {
    const BkCheckpointInfo *checkpoint = checkpoints->pdata[i];
    for (unsigned j = 0; checkpoint->disks && j < checkpoint->disks->len; j++)
      if (g_strcmp0 (((const BkCheckpointDisk *)checkpoint->disks->pdata[j])->bitmap, bitmap) == 0)
        return true;
  }
  return false;
}

static char *
remove_by_hand (const BkDisk *disk, const BkBitmap *bitmap)
{
  return g_strdup_printf ("remove it: 'block-dirty-bitmap-remove' with node '%s' and name '%s', or 'qemu-img bitmap --remove' when the VM is shut off",
                          disk->node ? disk->node : disk->name, bitmap->name);
}

static void
add_bitmap (const Look *look, const char *check, const BkDisk *disk, const BkBitmap *bitmap)
{
  g_autofree char *prefix = g_strdup_printf ("bkd-%s-", look->facts->instance);
  bool ours = g_str_has_prefix (bitmap->name, prefix);
  bool known = is_known (look->facts->checkpoints, bitmap->name);
  if (bitmap->inconsistent && known)
    note (look, check, "warning", g_strdup_printf ("the bitmap '%s' was left in use by a crash: the next backup of this disk is a full one", bitmap->name),
          g_strdup ("back the VM up: that removes the bitmap, too"));
  else if (bitmap->inconsistent)
    note (look, check, "warning", g_strdup_printf ("the bitmap '%s', which is not ours, was left in use by a crash", bitmap->name), remove_by_hand (disk, bitmap));
  else if (ours && !known && disk->in_use == NULL)
    note (look, check, "warning", g_strdup_printf ("no checkpoint knows of the bitmap '%s': it only costs memory", bitmap->name), remove_by_hand (disk, bitmap));
  else if (bitmap->busy && disk->in_use == NULL)
    note (look, check, "warning", g_strdup_printf ("the bitmap '%s' is in use by another program", bitmap->name), g_strdup ("end the job or export of that program"));
  else if (!ours && !known)
    note (look, check, "ok", g_strdup_printf ("the bitmap '%s' is another program's, and left alone", bitmap->name), NULL);
}

static void
add_disk (const Look *look, const BkDisk *disk)
{
  g_autofree char *check = g_strconcat ("disk ", disk->name, NULL);
  g_autofree char *size = size_text (disk->size);
  const char *format = disk->format ? disk->format : "unknown format";
  if (!bk_disk_is_default (disk)) {
    note (look, check, "ok", g_strdup_printf ("%s: not backed up unless it is asked for", disk->empty ? "without a medium" : disk->removable ? "removable" : "read-only"), NULL);
    return;
  }
  if (disk->no_access)
    note (look, check, "problem", g_strdup (disk->no_access), g_strdup_printf ("let the daemon's user read %s", disk->path ? disk->path : "its image"));
  else if (disk->blocked)
    note (look, check, "problem", g_strdup (disk->blocked), g_strdup ("wait for that job, or end it"));
  else if (disk->untracked)
    note (look, check, "warning", g_strdup_printf ("every backup of it is a full one: %s", disk->untracked), g_strdup ("attach the image itself, as qcow2, where increments are wanted"));
  else if (!disk->can_persist)
    note (look, check, "warning", g_strdup_printf ("the record of changes is lost when the VM stops, and the next backup is a full one then: %s", disk->why_not ? disk->why_not : format),
          g_strdup ("convert the image to qcow2 ('qemu-img convert -O qcow2 -o compat=1.1') while the VM is shut off"));
  else
    note (look, check, "ok", g_strdup_printf ("%s, %s%s", format, size, disk->iothread ? ", in an iothread" : ""), NULL);
  if (disk->no_pull)
    note (look, check, "warning", g_strdup_printf ("it cannot be pulled: %s", disk->no_pull), g_strdup ("use mode push for this VM, or take the disk out of its iothread"));
  for (unsigned i = 0; disk->bitmaps && i < disk->bitmaps->len; i++)
    add_bitmap (look, check, disk, disk->bitmaps->pdata[i]);
}

static void
add_agent (const Look *look)
{
  const BkVmFacts *facts = look->facts;
  if (facts->agent_busy)
    note (look, "guest agent", "ok", g_strdup_printf ("not asked: job %s may use it", facts->agent_busy), NULL);
  if (facts->agent_busy || !facts->agent_asked)
    return;
  if (facts->agent_failure)
    note (look, "guest agent", "warning", g_strdup_printf ("it does not answer: %s; backups are as after a power cut", facts->agent_failure),
          g_strdup ("install and start qemu-guest-agent in the guest, and see that the VM has its channel (org.qemu.guest_agent.0)"));
  else if (facts->agent_frozen)
    note (look, "guest agent", "problem", g_strdup ("the guest's file systems are frozen, and by no job of ours: nothing in it can write"),
          g_strdup ("thaw them: 'guest-fsfreeze-thaw' on the agent's socket, or 'virsh domfsthaw'"));
  else
    note (look, "guest agent", "ok", g_strdup ("it answers, and nothing is frozen"), NULL);
}

void
bk_findings_add_vm (GPtrArray *findings, const BkVmFacts *facts)
{
  g_autofree char *subject = g_strconcat ("VM ", facts->vm->name, NULL);
  const Look look = { findings, facts, subject };
  add_socket (&look);
  add_connection (&look);
  if (facts->state == NULL)
    return;
  add_features (&look);
  add_confinement (&look);
  add_scratch (&look);
  for (unsigned i = 0; i < facts->state->disks->len; i++)
    add_disk (&look, facts->state->disks->pdata[i]);
  add_agent (&look);
}
