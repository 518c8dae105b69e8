// SPDX-License-Identifier: Apache-2.0
// A camera or a video file, played in a <video> element, and its frames as JPEGs.

const LONGEST_SIDE_PX = 1280; // of a frame that is sent
const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };

const CAMERA_ERRORS = {
  NotAllowedError: "The browser refuses the camera. Allow it for this page, or choose a video.",
  NotFoundError: "No camera was found. Connect one, or choose a video.",
  NotReadableError: "The camera is in use by another program. Close that program, or choose a video.",
  OverconstrainedError: "The chosen camera is gone. Choose another one.",
};

export class FrameSource {
  /** `onEnd` is called when a video ends or a camera is unplugged. */
  constructor(video, onEnd) {
    this.video = video;
    this.kind = "none";
    this._onEnd = onEnd;
    this._stream = null;
    this._address = null;
    this._canvas = document.createElement("canvas");
    this._presented = 0; // pictures shown so far
    this._taken = 0;
    this._opening = 0; // number of sources opened so far
    this._watches = "requestVideoFrameCallback" in HTMLVideoElement.prototype;
    video.addEventListener("ended", () => this._onEnd("The video has ended."));
  }

  /** Size of the picture, px. */
  get width() {
    return this.video.videoWidth;
  }

  get height() {
    return this.video.videoHeight;
  }

  /** The latest captured frame, as it was sent. */
  get captured() {
    return this._canvas;
  }

  /** Opens a camera. Throws an Error with a text for people. */
  async openCamera(deviceId = "") {
    if (!navigator.mediaDevices) {
      throw new Error("Browsers give a camera to this machine's own pages only: open http://127.0.0.1 or localhost.");
    }
    this.close();
    try {
      const wanted = deviceId ? { ...CAMERA, deviceId: { exact: deviceId } } : CAMERA;
      this._stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
    } catch (error) {
      throw new Error(CAMERA_ERRORS[error.name] ?? `The camera can't be opened: ${error.message}`);
    }
    this._stream.getVideoTracks()[0].addEventListener("ended", () => this._onEnd("The camera has stopped."));
    this.video.srcObject = this._stream;
    await this._play("camera");
  }

  /** Plays a video file from its beginning. Throws an Error with a text for people. */
  async openFile(file) {
    this.close();
    this._address = URL.createObjectURL(file);
    this.video.src = this._address;
    try {
      await this._play("file");
    } catch {
      this.close();
      throw new Error(`This browser can't play ${file.name}. Score it on the page Files, which knows more formats.`);
    }
  }

  /** The cameras, as far as the browser names them. */
  static async cameras() {
    if (!navigator.mediaDevices) return [];
    return (await navigator.mediaDevices.enumerateDevices()).filter((each) => each.kind === "videoinput");
  }

  /** Whether a picture has been shown since the last capture. */
  get fresh() {
    if (this.kind === "none" || this.video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || !this.width) return false;
    return !this._watches || this._presented !== this._taken;
  }

  /** Captures the picture and encodes it: an ArrayBuffer with a JPEG, or null if there is no picture to encode. */
  async capture(quality) {
    this._taken = this._presented;
    const scale = Math.min(1, LONGEST_SIDE_PX / Math.max(this.width, this.height));
    this._canvas.width = Math.round(this.width * scale);
    this._canvas.height = Math.round(this.height * scale);
    this._canvas.getContext("2d").drawImage(this.video, 0, 0, this._canvas.width, this._canvas.height);
    const blob = await new Promise((resolve) => this._canvas.toBlob(resolve, "image/jpeg", quality));
    return blob === null ? null : blob.arrayBuffer();
  }

  /** Gives the camera or the file back. */
  close() {
    this.kind = "none";
    this.video.pause();
    this._stream?.getTracks().forEach((track) => track.stop());
    this._stream = null;
    this.video.srcObject = null;
    this.video.removeAttribute("src");
    if (this._address !== null) URL.revokeObjectURL(this._address);
    this._address = null;
  }

  async _play(kind) {
    await this.video.play();
    this.kind = kind;
    this._opening += 1;
    if (this._watches) this._watch(this._opening);
  }

  /** Counts the pictures of one opening of a source. */
  _watch(opening) {
    this.video.requestVideoFrameCallback(() => {
      if (this._opening !== opening) return;
      this._presented += 1;
      this._watch(opening);
    });
  }
}
