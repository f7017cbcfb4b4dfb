#!/usr/bin/env bash
# Makes the files that people bring, one or more of each kind, from numbered pictures and a little speech.
# make.sh PICTURES SPEECH.wav FOLDER   PICTURES holds 000000.png ..., 24 or more of them, of 128x96 pixels.
# What viseme is to make of each stands in tests/command/gallery.rs; with `make.sh --list` it prints what it would make.
set -euo pipefail
pictures=${1:-}; speech=${2:-}; out=${3:-}

ff() { ffmpeg -nostdin -hide_banner -loglevel error -y "$@"; }
at() { ff -framerate "$1" -i "$pictures/%06d.png" "${@:2}"; }                       # RATE options... FILE
x264=(-c:v libx264 -crf 8 -preset veryfast -pix_fmt yuv420p)
x265=(-c:v libx265 -preset ultrafast -x265-params "crf=8:log-level=none")

if [ "$pictures" = --list ]; then
  at() { printf '%s\n' "${@: -1}"; }; ff() { printf '%s\n' "${@: -1}"; }; out=.
fi
cd "${out:?a folder}"

# Containers and codecs.
at 25 "${x264[@]}" h264.mp4
at 25 "${x264[@]}" h264.mov
at 25 "${x264[@]}" h264.m4v
at 25 "${x264[@]}" h264.mkv
at 25 "${x264[@]}" -movflags frag_keyframe+empty_moov fragments.mp4
at 25 "${x264[@]}" -g 8 -bf 2 h264.ts
at 25 "${x264[@]}" h264.flv
at 25 "${x264[@]}" -f h264 bare.h264
at 25 "${x265[@]}" -pix_fmt yuv420p -tag:v hvc1 h265.mp4
at 25 -c:v libvpx-vp9 -crf 10 -b:v 0 -deadline realtime -cpu-used 8 vp9.webm
at 25 -c:v libvpx -crf 4 -b:v 4M -deadline realtime -cpu-used 8 vp8.webm
at 25 -c:v mpeg4 -q:v 2 -pix_fmt yuv420p mpeg4.avi
at 25 -c:v mjpeg -q:v 2 -pix_fmt yuvj420p mjpeg.avi
at 25 -c:v mpeg2video -q:v 2 -pix_fmt yuv420p mpeg2.mpg
at 25 -c:v mpeg2video -q:v 2 -pix_fmt yuv422p mpeg2.mxf
at 25 -c:v libtheora -q:v 10 -pix_fmt yuv420p theora.ogv
at 25 -c:v wmv2 -b:v 4M -pix_fmt yuv420p wmv2.wmv
at 25 -c:v h263 -q:v 2 -pix_fmt yuv420p -s 128x96 h263.3gp
at 25 -c:v ffv1 -pix_fmt yuv420p ffv1.nut
at 25 -pix_fmt yuv420p raw.y4m

# Rates, constant and not.
at 60 "${x264[@]}" rate-60.mp4
at 30000/1001 "${x264[@]}" rate-29.97.mp4
at 30 "${x264[@]}" rate-30.mkv
at 24 "${x264[@]}" rate-24.mp4
at 12.5 "${x264[@]}" rate-12.5.mp4
at 5 "${x264[@]}" rate-5.mp4
at 30 -vf "select='not(eq(mod(n,5),3))'" -fps_mode vfr "${x264[@]}" variable.mp4
at 30 -vf "select='not(eq(mod(n,5),3))'" -fps_mode vfr -c:v libvpx -crf 4 -b:v 4M -deadline realtime -cpu-used 8 variable.webm
at 25 -frames:v 1 "${x264[@]}" one-frame.mp4

# Turned, as phones do.
for turn in 90 180 270; do
  ff -display_rotation "$turn" -i h264.mp4 -c copy "turned-$turn.mp4" 2> /dev/null ||
    ff -i h264.mp4 -c copy -metadata:s:v rotate=$((360 - turn)) "turned-$turn.mp4"
done

# Depth, chroma, range.
at 25 "${x264[@]}" -pix_fmt yuv420p10le deep.mp4
at 25 "${x264[@]}" -pix_fmt yuv422p wide-chroma.mp4
at 25 "${x264[@]}" -pix_fmt yuv444p full-chroma.mp4
at 25 "${x265[@]}" -pix_fmt yuv422p10le deep-wide.mkv
at 25 -c:v prores_ks -profile:v 3 -pix_fmt yuv422p10le prores.mov
at 25 -c:v ffv1 -pix_fmt yuv444p10le ffv1-deep.mkv
at 25 "${x264[@]}" -pix_fmt yuvj420p -color_range pc full-range.mp4
at 25 -c:v libx264 -crf 8 -preset veryfast -pix_fmt gray grey.mkv
at 25 "${x265[@]}" -x265-params "crf=8:log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc" \
  -pix_fmt yuv420p10le -color_primaries bt2020 -color_trc smpte2084 -colorspace bt2020nc pq.mkv
at 25 "${x265[@]}" -x265-params "crf=8:log-level=none:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc" \
  -pix_fmt yuv420p10le -color_primaries bt2020 -color_trc arib-std-b67 -colorspace bt2020nc hlg.mkv

# Shape.
at 25 -vf setsar=16/15 "${x264[@]}" pal.mp4
at 25 -vf setsar=64/45 "${x264[@]}" anamorphic.mkv
at 25 -vf crop=127:95 -c:v libvpx-vp9 -crf 10 -b:v 0 -deadline realtime -cpu-used 8 -pix_fmt yuv420p odd.webm
at 50 -vf "tinterlace=interleave_top,fieldorder=tff,setparams=field_mode=tff" -c:v mpeg2video -q:v 2 -pix_fmt yuv420p \
  -flags +ilme+ildct interlaced.mpg
at 25 -frames:v 5 -vf scale=64:48 -c:v libvpx -crf 4 -b:v 4M -deadline realtime -cpu-used 8 half.webm
at 25 -frames:v 5 -c:v libvpx -crf 4 -b:v 4M -deadline realtime -cpu-used 8 whole.webm
printf "file whole.webm\nfile half.webm\n" > list.txt
ff -f concat -safe 0 -i list.txt -c copy resized.webm
rm -f half.webm whole.webm list.txt

# Time.
ff -itsoffset 0.3 -i h264.mp4 -i "$speech" -map 0:v -map 1:a -c:v copy -c:a aac late-picture.mp4
ff -ss 0.1 -i h264.mp4 -c copy edit-list.mp4
head -c "$(($(stat -c %s h264.mkv 2> /dev/null || echo 9000) * 2 / 3))" h264.mkv > cut.mkv || true

# Pictures as video.
cp "$pictures/000003.png" still.png || true
ff -i "$pictures/000003.png" -q:v 2 still.jpg
ff -i "$pictures/000003.png" still.bmp
at 10 -frames:v 6 -vf "split[a][b];[a]palettegen[p];[b][p]paletteuse" moving.gif

# Sound.
ff -i "$speech" -c:a libmp3lame -ac 2 -ar 44100 stereo.mp3
ff -i "$speech" -af "pan=5.1|FC=c0" -c:a ac3 centre.ac3
ff -i "$speech" -af "pan=stereo|c0=c0|c1=-1*c0" -c:a flac opposite.flac
ff -i "$speech" -c:a pcm_mulaw -ar 8000 telephone.wav
ff -i "$speech" -c:a pcm_s24le deep.wav
ff -i "$speech" -c:a pcm_f32le float.wav
ff -i "$speech" -c:a libopus voice.opus
ff -i "$speech" -c:a libvorbis voice.ogg
ff -i "$speech" -c:a aac voice.m4a
ff -i "$speech" -c:a alac voice-lossless.m4a
ff -itsoffset 0.1 -i "$speech" -c:a aac late-sound.mka
ff -f lavfi -i "anullsrc=r=16000:cl=mono:d=0.4" -i "$speech" -map 0 -map 1 -c:a flac -disposition:a:0 0 -disposition:a:1 default two-tracks.mka
ff -i h264.mp4 -i "$speech" -c:v copy -c:a aac picture-and-sound.mp4
